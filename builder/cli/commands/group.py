"""``pybuild image``, ``container``, ``system``, ``manifest``: commands under Docker's long names."""

from __future__ import annotations

from collections.abc import Callable

from builder.cli.commands import COMMANDS, Command, load
from builder.cli.environment import Surroundings
from builder.cli.options import Parsed, nearest
from builder.errors import UsageError


def group(name: str, what: str) -> Command:
    """The command *name*, which does nothing but tell what commands there are under it."""
    return Command(
        name=name,
        usage=f"{name} COMMAND",
        description=f"{what}. Commands: {', '.join(_members(name))}.",
        options=(),
        examples=tuple(f"pybuild {name} {member}" for member in _members(name)[:3]),
        arguments=(0, None),
        run=_runner(name),
    )


def _members(name: str) -> list[str]:
    found = []
    for main, entry in COMMANDS.items():
        for word in (main, *entry.also):
            head, _, rest = word.partition(" ")
            if head == name and rest and rest not in found:
                found.append(rest)
    return sorted(found)


def _runner(name: str) -> Callable[[Parsed, Surroundings], int]:
    def run(parsed: Parsed, world: Surroundings) -> int:
        from builder.cli.usage import of_command  # only for this help

        if not parsed.arguments:
            world.stdout.write(of_command(load(name)))
            return 0
        near = nearest(parsed.arguments[0], _members(name))
        raise UsageError(
            f"{name} has no command {parsed.arguments[0]!r}",
            code="unknown-command",
            hint=f"did you mean {name} {near}?" if near else f"'pybuild {name}' lists them",
        )

    return run
