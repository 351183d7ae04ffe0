"""``pybuild manifest inspect``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform
from builder.engine.images.manifests import document
from builder.image.documents import read_json


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show a manifest or an index."""
    import json

    with open_store(parsed, world) as store:
        found = document(store, parsed.arguments[0], platform(parsed), passed_on(world.environ))
    value = read_json(found.data, "the manifest")
    if parsed.flag("verbose"):
        value = {"Ref": parsed.arguments[0], "Descriptor": found.descriptor.json(), "Document": value}
    world.stdout.write(json.dumps(value, indent=3, ensure_ascii=False) + "\n")
    return 0


COMMAND = Command(
    name="manifest inspect",
    usage="manifest inspect [OPTIONS] NAME[:TAG|@DIGEST]",
    description="Shows the manifest or index of an image: of the store's where it is here, else of its registry's.",
    options=(
        Option(name="verbose", short="v", kind="flag", summary="Show its digest and size too"),
        Option(name="json", kind="flag", summary="As JSON, which is the default"),
    ),
    examples=("pybuild manifest inspect debian:stable",),
    arguments=(1, 1),
    run=run,
)
