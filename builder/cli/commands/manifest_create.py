"""``pybuild manifest create``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform, progress
from builder.engine.images.manifests import create
from builder.image.names import Reference


def run(parsed: Parsed, world: Surroundings) -> int:
    """Make one image of several."""
    name, *members = parsed.arguments
    reference = Reference.parse(name)
    with open_store(parsed, world) as store, progress(world) as emit:
        create(
            store,
            reference,
            members,
            platform(parsed),
            passed_on(world.environ),
            emit,
            amend=parsed.flag("amend"),
        )
    world.stdout.write(f"Created manifest list {reference}\n")
    return 0


COMMAND = Command(
    name="manifest create",
    usage="manifest create [OPTIONS] NAME[:TAG] IMAGE...",
    description=(
        "Makes an image of several platforms of images of one each; those that are not here are pulled. It is kept in "
        "the store under its name, and pushed with 'pybuild manifest push'."
    ),
    options=(Option(name="amend", short="a", kind="flag", summary="Add to the one that has the name already"),),
    examples=("pybuild manifest create team/app:1 team/app:1-amd64 team/app:1-arm64",),
    arguments=(2, None),
    run=run,
)
