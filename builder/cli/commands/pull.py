"""``pybuild pull``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import each, open_store, platform, progress
from builder.engine.pulling import pull
from builder.image.names import Reference


def run(parsed: Parsed, world: Surroundings) -> int:
    """Get images from their registries."""
    quiet = parsed.flag("quiet")
    with open_store(parsed, world) as store:

        def one(text: str) -> None:
            reference = Reference.parse(text)
            with progress(world, quiet=quiet) as emit:
                wanted, strict = platform(parsed), parsed.given("platform")
                got = pull(store, reference, wanted, passed_on(world.environ), emit, strict=strict)
            if not quiet:
                status = "Downloaded newer image for" if got.fresh else "Image is up to date for"
                world.stdout.write(f"Digest: {got.top.digest}\nStatus: {status} {reference.familiar}\n")
            world.stdout.write(f"{reference}\n")

        return each(parsed.arguments, one, parsed, world)


COMMAND = Command(
    name="pull",
    usage="pull [OPTIONS] NAME[:TAG|@DIGEST]...",
    description="Gets images from their registries into the store: all layers of one platform.",
    options=(
        Option(
            name="platform", metavar="OS/ARCH", summary="Of an image of several platforms, this one (default: ours)"
        ),
        Option(name="quiet", short="q", kind="flag", summary="Show nothing but the name"),
        Option(
            name="all-tags",
            short="a",
            kind="flag",
            refused="one image is pulled by its name",
            refused_hint="name each of them: pybuild pull NAME:TAG…",
            hidden=True,
        ),
        Option(name="disable-content-trust", kind="flag", hidden=True),
    ),
    examples=("pybuild pull debian:stable", "pybuild pull --platform linux/arm64 registry.example.com/team/app"),
    arguments=(1, None),
    run=run,
)
