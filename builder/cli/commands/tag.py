"""``pybuild tag``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Parsed
from builder.cli.storing import open_store, platform
from builder.engine.images.kept import tag


def run(parsed: Parsed, world: Surroundings) -> int:
    """Give an image a further name."""
    source, target = parsed.arguments
    with open_store(parsed, world) as store:
        tag(store, source, target, platform(parsed))
    return 0


COMMAND = Command(
    name="tag",
    usage="tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    description="Gives an image a further name. A name that another image has is taken from it.",
    options=(),
    examples=("pybuild tag app registry.example.com/team/app:1.2", "pybuild tag 3f2a9c app:old"),
    arguments=(2, 2),
    run=run,
)
