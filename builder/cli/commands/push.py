"""``pybuild push``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import PLATFORM, each, open_store, platform, progress
from builder.engine.images.kept import images
from builder.engine.images.publishing import push
from builder.errors import ImageError
from builder.image.names import Reference


def run(parsed: Parsed, world: Surroundings) -> int:
    """Send images to their registries."""
    quiet = parsed.flag("quiet")
    with open_store(parsed, world) as store:

        def one(text: str) -> None:
            with progress(world, quiet=quiet) as emit:
                name, pushed = push(
                    store,
                    text,
                    platform(parsed),
                    passed_on(world.environ),
                    emit,
                    all_platforms=not parsed.given("platform"),
                )
            line = str(name) if quiet else f"{name.familiar}: digest: {pushed.digest} size: {pushed.size}"
            world.stdout.write(f"{line}\n")

        names = list(parsed.arguments)
        if parsed.flag("all-tags"):
            wanted = [Reference.parse(text) for text in names]
            names = [
                str(name)
                for image in images(store, platform(parsed))
                for name in image.names
                if any((name.registry, name.repository) == (one.registry, one.repository) for one in wanted)
            ]
            if not names:
                raise ImageError(f"no image of {', '.join(parsed.arguments)} is here", code="no-such-image")
        return each(names, one, parsed, world)


COMMAND = Command(
    name="push",
    usage="push [OPTIONS] NAME[:TAG]...",
    description=(
        "Sends images to the registries that their names begin with, and prints their digests there. Of an image of "
        "several platforms all are sent if all are here."
    ),
    options=(
        Option(name="all-tags", short="a", kind="flag", summary="All tags of the repository"),
        Option(name="quiet", short="q", kind="flag", summary="Show nothing but the name"),
        PLATFORM,
        Option(name="disable-content-trust", kind="flag", hidden=True),
    ),
    examples=("pybuild push registry.example.com/team/app:1.2", "pybuild push -a registry.example.com/team/app"),
    arguments=(1, None),
    run=run,
)
