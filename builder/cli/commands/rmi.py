"""``pybuild rmi``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import each, open_store, platform
from builder.engine.images.kept import remove
from builder.errors import ImageError
from builder.store.containers import Containers


def run(parsed: Parsed, world: Surroundings) -> int:
    """Take names away, and images with their last name; 1 if one could not be."""
    with open_store(parsed, world) as store:
        containers = Containers(store)

        def one(text: str) -> None:
            users = [(container.name, container.image) for container in containers.list()]
            try:
                for done in remove(store, text, platform(parsed), force=parsed.flag("force"), users=users):
                    world.stdout.write(f"{done.kind}: {done.what}\n")
            except ImageError as e:
                if e.code == "no-such-image" and containers.find(text) is not None:
                    hint = f"{text} is a container: pybuild container rm {text}"
                    raise ImageError(e.message, code=e.code, hint=hint) from None
                if e.code == "no-such-image" and parsed.flag("force"):
                    return  # as rm -f has it
                raise

        return each(parsed.arguments, one, parsed, world)


COMMAND = Command(
    name="rmi",
    usage="rmi [OPTIONS] IMAGE...",
    description=(
        "Takes names of images away, and an image itself with its last name. What it was made of stays as build cache "
        "until 'pybuild prune'."
    ),
    options=(
        Option(
            name="force",
            short="f",
            kind="flag",
            summary="Also if an image has several names, or containers were made of it",
        ),
        Option(name="no-prune", kind="flag", summary="As Docker has it; layers stay until 'pybuild prune' anyway"),
    ),
    examples=("pybuild rmi app:old", "pybuild rmi $(pybuild images -q --filter dangling=true)"),
    arguments=(1, None),
    run=run,
)
