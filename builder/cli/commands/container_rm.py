"""``pybuild container rm``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import each, open_store
from builder.engine.containers.run import remove
from builder.errors import StoreError


def run(parsed: Parsed, world: Surroundings) -> int:
    """Remove containers; 1 if one could not be."""
    with open_store(parsed, world) as store:

        def one(text: str) -> None:
            try:
                remove(store, text)
            except StoreError as e:
                if e.code != "no-such-container" or not parsed.flag("force"):
                    raise
            world.stdout.write(f"{text}\n")

        return each(parsed.arguments, one, parsed, world)


COMMAND = Command(
    name="container rm",
    usage="container rm [OPTIONS] CONTAINER...",
    description="Removes containers that 'pybuild run' left, and their root file systems.",
    options=(
        Option(name="force", short="f", kind="flag", summary="Also if there is none of that name"),
        Option(name="volumes", short="v", kind="flag", summary="As Docker has it; no volumes are left anyway"),
    ),
    examples=("pybuild container rm try", "pybuild container rm $(pybuild ps -aq)"),
    arguments=(1, None),
    run=run,
)
