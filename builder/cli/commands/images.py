"""``pybuild images``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import at, moment, point, since, size
from builder.cli.options import Option, Parsed, boolean, nearest
from builder.cli.storing import open_store, platform
from builder.cli.tables import OPTIONS, QUIET, Listing, Row, listed
from builder.engine.images.kept import Image, find, images
from builder.engine.images.sizes import Sizes
from builder.errors import UsageError
from builder.image.names import Reference
from builder.store.store import Store

_COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)
_DIGESTS = (*_COLUMNS[:2], ("DIGEST", "Digest"), *_COLUMNS[2:])
_HEADINGS = {"CreatedAt": "CREATED AT", "Digest": "DIGEST"}
_FILTERS = ("dangling", "label", "before", "since", "until", "reference")


def run(parsed: Parsed, world: Surroundings) -> int:
    """List images."""
    with open_store(parsed, world) as store:
        wanted = _filters(parsed, store)
        sizes = Sizes(store)
        rows: list[Row] = []
        for image in images(store, platform(parsed)):
            if all(keep(image) for keep in wanted):
                rows += _rows(image, sizes, parsed, time.time())
        sizes.keep()
    if parsed.flag("quiet") and not parsed.given("format") and not parsed.flag("json"):
        rows = list({row["ID"]: row for row in rows}.values())
    columns = _DIGESTS if parsed.flag("digests") else _COLUMNS
    world.stdout.write(listed(Listing(columns=columns, name="ID", headings=_HEADINGS), rows, parsed))
    return 0


def _rows(image: Image, sizes: Sizes, parsed: Parsed, now: float) -> list[Row]:
    """One for each of the image's names that is asked for."""
    patterns = [*parsed.arguments, *_values(parsed, "reference")]
    names: Iterable[Reference | None] = [
        name for name in image.names if not patterns or any(_matches(name, pattern) for pattern in patterns)
    ]
    if not image.names and not patterns:
        names = (None,)
    made = moment(image.created)
    whole = sizes.of(image)
    rows: list[Row] = []
    for name in names:
        rows.append(
            {
                "Repository": _repository(name) if name else "<none>",
                "Tag": (name.tag or "<none>") if name else "<none>",
                "Digest": str(image.top.digest),
                "ID": str(image.id) if parsed.flag("no-trunc") else image.id.hex[:12],
                "CreatedSince": since(made, now),
                "CreatedAt": at(made),
                "Size": size(whole),
                "VirtualSize": size(whole),
                "Platform": str(image.config.platform) if image.config else "",
                "Bytes": whole,
                "Created": image.created or "",
            }
        )
    return rows


def _repository(name: Reference) -> str:
    return Reference(name.registry, name.repository).familiar


def _matches(name: Reference, pattern: str) -> bool:
    """Whether the name is ``REPOSITORY[:TAG]``, with ``*`` and ``?``. source: distribution/reference, FamiliarMatch"""
    familiar, repository = name.familiar, _repository(name)
    return any(_fits(text, pattern) for text in (familiar, repository, str(name), f"{name.registry}/{name.repository}"))


def _fits(text: str, pattern: str) -> bool:
    # path.Match: * does not reach over a slash
    parts, patterns = text.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(fnmatchcase(*pair) for pair in zip(parts, patterns, strict=True))


def _values(parsed: Parsed, key: str) -> list[str]:
    return [value for name, _, value in (text.partition("=") for text in parsed.many("filter")) if name == key]


def _filters(parsed: Parsed, store: Store) -> list[Callable[[Image], bool]]:
    tests: list[Callable[[Image], bool]] = []
    for text in parsed.many("filter"):
        key, equals, value = text.partition("=")
        if key not in _FILTERS or not equals:
            near = nearest(key, _FILTERS)
            raise UsageError(
                f"invalid filter {text!r}",
                code="invalid-filter",
                hint=f"did you mean {near}=…?" if near and near != key else "one of " + ", ".join(_FILTERS),
            )
        if key != "reference":
            tests.append(_filter(key, value, parsed, store))
    return tests


def _filter(key: str, value: str, parsed: Parsed, store: Store) -> Callable[[Image], bool]:
    if key == "dangling":
        truth = boolean(value)
        if truth is None:
            raise UsageError(f"invalid filter dangling={value}", code="invalid-filter", hint="it is true or false")
        return lambda image: (not image.names) == truth
    if key == "label":
        name, equals, wanted = value.partition("=")
        return lambda image: has_label(image, name, wanted if equals else None)
    if key == "until":
        limit = point(value, time.time())
        if limit is None:
            raise UsageError(f"invalid filter until={value}", code="invalid-filter", hint="as in until=24h")
        return lambda image: (moment(image.created) or 0.0) < limit
    other = moment(find(store, value, platform(parsed)).created) or 0.0
    if key == "before":
        return lambda image: (moment(image.created) or 0.0) < other
    return lambda image: (moment(image.created) or 0.0) > other


def has_label(image: Image, name: str, value: str | None) -> bool:
    """Whether the image has the label, with that value if one is given."""
    labels = image.config.config.labels if image.config else {}
    return name in labels and (value is None or labels[name] == value)


COMMAND = Command(
    name="images",
    usage="images [OPTIONS] [REPOSITORY[:TAG]]",
    description="Lists the images of the store, the latest first. SIZE is that of their unpacked files.",
    options=(
        QUIET,
        Option(name="all", short="a", kind="flag", summary="As Docker has it; there are no intermediate images here"),
        Option(name="digests", kind="flag", summary="Show digests"),
        Option(
            name="filter",
            short="f",
            kind="list",
            metavar="KEY=VALUE",
            summary="dangling=true|false, label=NAME[=VALUE], before=IMAGE, since=IMAGE, until=24h, reference=PATTERN",
        ),
        *OPTIONS,
    ),
    examples=(
        "pybuild images",
        "pybuild images -q --filter dangling=true",
        "pybuild images --format '{{.Repository}}:{{.Tag}} {{.Size}}' 'registry.example.com/*/*'",
        "pybuild images --json",
    ),
    arguments=(0, 1),
    run=run,
)
