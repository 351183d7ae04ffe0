"""``pybuild load``."""

from __future__ import annotations

import os
from pathlib import Path

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, progress
from builder.engine.images.saving import load
from builder.errors import UsageError
from builder.events import Progress


def run(parsed: Parsed, world: Surroundings) -> int:
    """Take the images of a tar into the store."""
    given = parsed.value("input")
    path = Path(given) if given and given != "-" else None
    if path is None and os.isatty(world.stdin):
        raise UsageError(
            "nothing comes by stdin but what you type",
            code="no-input",
            hint="name a tar with -i, or redirect one: pybuild load < FILE",
        )
    lines = []
    with open_store(parsed, world) as store, progress(world, quiet=parsed.flag("quiet")) as emit:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            emit(Progress("load", "load", given or "standard input", done, 0))

        try:
            for line in load(store, path, world.stdin, report):
                lines.append(line)
        finally:
            emit(Progress("load", "load", given or "standard input", done, done, finished=True))
    world.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


COMMAND = Command(
    name="load",
    usage="load [OPTIONS]",
    description=(
        "Takes images into the store: from a tar of 'docker save' or 'pybuild save', from an OCI archive, compressed "
        "or not, or from the folder of an OCI layout."
    ),
    options=(
        Option(name="input", short="i", metavar="FILE", summary="The tar or folder to read (default: stdin)"),
        Option(name="quiet", short="q", kind="flag", summary="Show no progress"),
    ),
    examples=("pybuild load -i app.tar", "docker save app | pybuild load", "gzip -dc app.tar.gz | pybuild load"),
    arguments=(0, 0),
    run=run,
)
