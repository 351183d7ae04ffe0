"""``pybuild push``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import PLATFORM, each, open_store, platform, progress
from builder.cli.text import harmless
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
                pushed = push(
                    store,
                    text,
                    platform(parsed),
                    passed_on(world.environ),
                    emit,
                    all_platforms=not parsed.given("platform"),
                    referrers=parsed.flag("referrers"),
                )
            name, sent = pushed.name, pushed.descriptor
            line = str(name) if quiet else f"{name.familiar}: digest: {sent.digest} size: {sent.size}"
            world.stdout.write(f"{line}\n")
            for one in () if quiet else pushed.referrers:
                kind = harmless(str(one.extra.get("artifactType", one.media_type)))
                world.stdout.write(f"  with {one.digest} ({kind})\n")

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
        Option(
            name="referrers",
            kind="flag",
            summary="With what speaks of the image where it was pulled from: signatures, statements, lists of parts",
        ),
        Option(name="disable-content-trust", kind="flag", hidden=True),
    ),
    examples=(
        "pybuild push registry.example.com/team/app:1.2",
        "pybuild push -a registry.example.com/team/app",
        "pybuild push --referrers registry.example.com/copy/app:1.2",
    ),
    arguments=(1, None),
    run=run,
)
