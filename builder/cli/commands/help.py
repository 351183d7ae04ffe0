"""``pybuild help [COMMAND]``."""

from __future__ import annotations

from builder.cli import usage
from builder.cli.commands import COMMANDS, Command, find, load
from builder.cli.environment import Surroundings
from builder.cli.options import Parsed, nearest
from builder.errors import UsageError


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show the help of a command, or of all."""
    words = list(parsed.arguments)
    if not words:
        world.stdout.write(usage.of_all())
        return 0
    found = find(words)
    if found is None or found[1] != len(words):
        near = nearest(words[0], COMMANDS)
        raise UsageError(
            f"there is no command {' '.join(words)!r}",
            code="unknown-command",
            hint=f"did you mean {near}?" if near else "'pybuild --help' lists them",
        )
    world.stdout.write(usage.of_command(load(found[0])))
    return 0


COMMAND = Command(
    name="help",
    usage="help [COMMAND]",
    description="Shows the help of a command, or what commands there are.",
    options=(),
    examples=("pybuild help build",),
    arguments=(0, 2),
    run=run,
)
