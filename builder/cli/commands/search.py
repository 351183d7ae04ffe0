"""``pybuild search``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed, boolean
from builder.cli.tables import OPTIONS, Listing, listed
from builder.cli.text import cut
from builder.engine.images.searching import Hit, search
from builder.errors import UsageError

_LISTING = Listing(
    columns=(
        ("NAME", "Name"),
        ("DESCRIPTION", "Description"),
        ("STARS", "StarCount"),
        ("OFFICIAL", "IsOfficial"),
    ),
    name="Name",
    headings={},
)


def run(parsed: Parsed, world: Surroundings) -> int:
    """Look for images in a registry."""
    limit = parsed.value("limit", "25")
    if not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise UsageError(f"--limit {limit!r} is not from 1 to 100", code="invalid-value")
    stars, official = 0, None
    for text in parsed.many("filter"):
        key, _, value = text.partition("=")
        if key == "stars" and value.isdecimal():
            stars = int(value)
        elif key == "is-official" and boolean(value) is not None:
            official = boolean(value)
        else:
            raise UsageError(f"invalid filter {text!r}", code="invalid-filter", hint="stars=N, is-official=true")
    hits = [
        hit
        for hit in search(parsed.arguments[0], int(limit), passed_on(world.environ))
        if hit.stars >= stars and official in (None, hit.official)
    ]
    whole = parsed.flag("no-trunc")
    world.stdout.write(listed(_LISTING, [_row(hit, whole) for hit in hits], parsed))
    return 0


def _row(hit: Hit, whole: bool) -> dict[str, object]:
    text = " ".join(hit.description.split())
    return {
        "Name": hit.name,
        "Description": text if whole else cut(text, 45),
        "StarCount": hit.stars,
        "IsOfficial": "[OK]" if hit.official else "",
    }


COMMAND = Command(
    name="search",
    usage="search [OPTIONS] [REGISTRY/]TERM",
    description=(
        "Looks for images on Docker Hub; in another registry, whose name the term begins with, for repositories whose "
        "names contain the term, as far as it lists them."
    ),
    options=(
        Option(name="limit", metavar="N", summary="How many at the most (default: 25)"),
        Option(name="filter", short="f", kind="list", metavar="KEY=VALUE", summary="stars=N, is-official=true|false"),
        *OPTIONS,
    ),
    examples=("pybuild search debian", "pybuild search localhost:5000/team/"),
    arguments=(1, 1),
    run=run,
)
