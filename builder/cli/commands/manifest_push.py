"""``pybuild manifest push``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform, progress
from builder.engine.images.publishing import push


def run(parsed: Parsed, world: Surroundings) -> int:
    """Push an image of several platforms."""
    with open_store(parsed, world) as store:
        with progress(world) as emit:
            pushed = push(
                store, parsed.arguments[0], platform(parsed), passed_on(world.environ), emit, all_platforms=True
            )
        if parsed.flag("purge"):
            store.images.untag(pushed.name)
            store.images.forget(pushed.descriptor.digest)
    world.stdout.write(f"{pushed.descriptor.digest}\n")
    return 0


COMMAND = Command(
    name="manifest push",
    usage="manifest push [OPTIONS] NAME[:TAG]",
    description="Sends an image of several platforms, all of them, to its registry, and prints its digest.",
    options=(Option(name="purge", short="p", kind="flag", summary="Remove it from the store afterwards"),),
    examples=("pybuild manifest push registry.example.com/team/app:1",),
    arguments=(1, 1),
    run=run,
)
