"""``pybuild manifest rm``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Parsed
from builder.cli.storing import each, open_store, platform
from builder.engine.images.manifests import forget
from builder.image.names import Reference


def run(parsed: Parsed, world: Surroundings) -> int:
    """Remove lists of images."""
    with open_store(parsed, world) as store:
        return each(
            parsed.arguments, lambda text: forget(store, Reference.parse(text), platform(parsed)), parsed, world
        )


COMMAND = Command(
    name="manifest rm",
    usage="manifest rm NAME[:TAG]...",
    description="Removes lists that 'pybuild manifest create' made from the store; the images in them stay.",
    options=(),
    examples=("pybuild manifest rm team/app:1",),
    arguments=(1, None),
    run=run,
)
