"""``pybuild pull``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.cli.storing import each, open_store, platform, progress
from builder.engine.images.pulling import pull
from builder.errors import UsageError
from builder.image.names import Reference

if TYPE_CHECKING:
    from builder.registry.client import Registry


def run(parsed: Parsed, world: Surroundings) -> int:
    """Get images from their registries."""
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry

    if parsed.flag("all-tags"):
        for text in parsed.arguments:
            _must_be_repository(text)
    quiet = parsed.flag("quiet")
    registry = Registry(passed_on(world.environ))
    with open_store(parsed, world) as store:

        def one(text: str) -> None:
            reference = Reference.parse(text)
            with progress(world, quiet=quiet) as emit:
                wanted, strict = platform(parsed), parsed.given("platform")
                got = pull(store, reference, wanted, {}, emit, strict=strict, registry=registry)
            if not quiet:
                status = "Downloaded newer image for" if got.fresh else "Image is up to date for"
                world.stdout.write(f"Digest: {got.top.digest}\nStatus: {status} {reference.familiar}\n")
            world.stdout.write(f"{reference}\n")

        if not parsed.flag("all-tags"):
            return each(parsed.arguments, one, parsed, world)
        return each(parsed.arguments, lambda text: _all_tags(text, registry, one), parsed, world)


def _all_tags(text: str, registry: Registry, one: Callable[[str], None]) -> None:
    """*one* for each tag that *text*'s repository has."""
    from builder.registry.listing import tags

    reference = Reference.parse(text)
    for tag in sorted(tags(registry, reference)):
        one(str(Reference(reference.registry, reference.repository, tag)))


def _must_be_repository(text: str) -> None:
    reference = Reference.parse(text)
    if "@" in text or ":" in text.rpartition("/")[2]:
        repository = Reference(reference.registry, reference.repository).familiar
        raise UsageError(
            f"--all-tags: {text} has a tag or a digest",
            code="invalid-reference",
            hint=f"name the repository: pybuild pull --all-tags {repository}",
        )


COMMAND = Command(
    name="pull",
    usage="pull [OPTIONS] NAME[:TAG|@DIGEST]...",
    description="Gets images from their registries into the store: all layers of one platform.",
    options=(
        Option(
            name="platform", metavar="OS/ARCH", summary="Of an image of several platforms, this one (default: ours)"
        ),
        Option(name="quiet", short="q", kind="flag", summary="Show nothing but the name"),
        Option(name="all-tags", short="a", kind="flag", summary="All tags that the repository has"),
        Option(name="disable-content-trust", kind="flag", hidden=True),
    ),
    examples=("pybuild pull debian:stable", "pybuild pull --platform linux/arm64 registry.example.com/team/app"),
    arguments=(1, None),
    run=run,
)
