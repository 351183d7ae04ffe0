"""``pybuild save``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import PLATFORM, open_store, platform, progress
from builder.engine.images.saving import save
from builder.errors import UsageError
from builder.events import Progress


def run(parsed: Parsed, world: Surroundings) -> int:
    """Write images as a tar."""
    dest = parsed.value("output", "-")
    if dest == "-" and world.stdout.is_terminal():
        raise UsageError(
            "a tar is not for a terminal",
            code="terminal-output",
            hint="name a file with -o, or redirect the output",
        )
    label = "standard output" if dest == "-" else dest
    with open_store(parsed, world) as store, progress(world) as emit:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            emit(Progress("save", "export", label, done, 0))

        save(store, parsed.arguments, dest, platform(parsed), report)
        emit(Progress("save", "export", label, done, done, finished=True))
    return 0


COMMAND = Command(
    name="save",
    usage="save [OPTIONS] IMAGE...",
    description=(
        "Writes images as one tar to a file or to stdout, for 'docker load', 'pybuild load', and all that reads OCI "
        "archives. A repository without a tag stands for all images of it."
    ),
    options=(
        Option(name="output", short="o", metavar="FILE", summary="The file to write (default: stdout)"),
        PLATFORM,
    ),
    examples=("pybuild save -o app.tar app:1 app:2", "pybuild save app | docker load"),
    arguments=(1, None),
    run=run,
)
