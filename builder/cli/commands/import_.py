"""``pybuild import``."""

from __future__ import annotations

import os

from builder.cli.commands import Command
from builder.cli.commands.commit import CHANGE
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform, progress
from builder.engine.containers.committing import Note, import_root
from builder.errors import UsageError
from builder.image.names import Reference


def run(parsed: Parsed, world: Surroundings) -> int:
    """Make an image of a tar."""
    source, *names = parsed.arguments
    if source == "-" and os.isatty(world.stdin):
        raise UsageError("nothing comes by stdin but what you type", code="no-input", hint="pybuild import - < FILE")
    name = Reference.parse(names[0]) if names else None
    note = Note(message=parsed.value("message"), changes=parsed.many("change"))
    with open_store(parsed, world) as store, progress(world) as emit:
        made = import_root(store, source, world.stdin, name, note, platform(parsed), passed_on(world.environ), emit)
    world.stdout.write(f"{made}\n")
    return 0


COMMAND = Command(
    name="import",
    usage="import [OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]",
    description="Makes an image of one layer of the tar of a root file system, compressed or not.",
    options=(
        CHANGE,
        Option(name="message", short="m", metavar="TEXT", summary="What there is to say"),
        Option(name="platform", metavar="OS/ARCH", summary="What the image is for (default: this machine)"),
    ),
    examples=(
        "pybuild import rootfs.tar.xz base:1",
        "mmdebstrap stable - | pybuild import --change 'CMD [\"bash\"]' - debian:mine",
    ),
    arguments=(1, 2),
    run=run,
)
