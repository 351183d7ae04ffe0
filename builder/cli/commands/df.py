"""``pybuild df``."""

from __future__ import annotations

import time

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import duration, moment, since, size
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform
from builder.cli.tables import OPTIONS, Listing, Row, listed, table
from builder.engine.images.kept import Image, images
from builder.engine.images.sizes import Sizes, shared
from builder.engine.upkeep.usage import Usage, usage
from builder.errors import UsageError
from builder.store.containers import Container, Containers

_LISTING = Listing(
    columns=(
        ("TYPE", "Type"),
        ("TOTAL", "TotalCount"),
        ("ACTIVE", "Active"),
        ("SIZE", "Size"),
        ("RECLAIMABLE", "Reclaimable"),
    ),
    name="Type",
    headings={},
)


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show how much room the store takes."""
    verbose = parsed.flag("verbose")
    if verbose and (parsed.given("format") or parsed.flag("json")):
        raise UsageError("--verbose and --format cannot be used together", code="invalid-value")
    with open_store(parsed, world) as store:
        measured = usage(store)
        here = images(store, platform(parsed))
        containers = Containers(store).list()
        sizes = Sizes(store)
        if verbose:
            world.stdout.write(_verbose(measured, here, containers, sizes))
        sizes.keep()
    if not verbose:
        world.stdout.write(listed(_LISTING, _rows(measured, here, containers), parsed))
    return 0


def _rows(measured: Usage, here: tuple[Image, ...], containers: tuple[Container, ...]) -> list[Row]:
    used = {one.image for one in containers}
    active = len([image for image in here if image.id in used])
    roots = sum(measured.containers.values())
    return [
        _row("Images", len(here), active, measured.images, measured.images - measured.in_use),
        _row("Containers", len(containers), 0, roots, roots),
        _row("Build Cache", len(measured.cache), 0, measured.cache_size, measured.cache_size),
        _row("Other", 0, 0, measured.other, 0),
    ]


def _row(kind: str, total: int, active: int, whole: int, free: int) -> Row:
    percent = f" ({100 * free // whole}%)" if whole and free else ""
    return {
        "Type": kind,
        "TotalCount": total,
        "Active": active,
        "Size": size(whole),
        "Reclaimable": f"{size(free)}{percent}",
        "Bytes": whole,
        "ReclaimableBytes": free,
    }


def _verbose(measured: Usage, here: tuple[Image, ...], containers: tuple[Container, ...], sizes: Sizes) -> str:
    now = time.time()
    return (
        "Images space usage:\n\n"
        + _images(here, containers, sizes, now)
        + "\nContainers space usage:\n\n"
        + table(
            ("CONTAINER ID", "IMAGE", "SIZE", "CREATED", "NAMES"),
            [
                (
                    one.id[:12],
                    one.image_name,
                    size(measured.containers.get(one.id, 0)),
                    since(moment(one.created), now),
                    one.name,
                )
                for one in containers
            ],
        )
        + f"\nBuild cache usage: {size(measured.cache_size)}\n\n"
        + table(
            ("CACHE ID", "CACHE TYPE", "SIZE", "LAST USED"),
            [
                (entry.id[:20], entry.kind, size(entry.size), f"{duration(now - entry.used)} ago" if entry.used else "")
                for entry in measured.cache
            ],
        )
    )


def _images(here: tuple[Image, ...], containers: tuple[Container, ...], sizes: Sizes, now: float) -> str:
    layers = {
        image.top.digest: list(zip(image.config.diff_ids, sizes.layers(image), strict=False))
        for image in here
        if image.config is not None
    }
    common = shared(layers)
    rows = []
    for image in here:
        whole, both = sizes.of(image), common.get(image.top.digest, 0)
        name = image.names[0] if image.names else None
        rows.append(
            (
                name.familiar.rpartition(":")[0] if name and name.tag else name.familiar if name else "<none>",
                (name.tag if name else None) or "<none>",
                image.id.hex[:12],
                since(moment(image.created), now),
                size(whole),
                size(both),
                size(whole - both),
                sum(one.image == image.id for one in containers),
            )
        )
    heads = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS")
    return table(heads, rows)


COMMAND = Command(
    name="df",
    usage="df [OPTIONS]",
    description=(
        "Shows how much room the store takes on the disk: images, containers, the build cache, and what is left of "
        "processes that were killed. RECLAIMABLE is what 'pybuild prune -a' would free."
    ),
    options=(
        Option(name="verbose", short="v", kind="flag", summary="Show each image, container and cache entry"),
        *OPTIONS,
    ),
    examples=("pybuild df", "pybuild df -v", "pybuild df --json"),
    arguments=(0, 0),
    run=run,
)
