"""What is still wanted, and the removal of the rest.

    images.json ──► manifest or index ──► config, layers (blobs)
    records ──► snapshot ──► its layer's blob, and the snapshots below
    containers ──► snapshot, and the manifest of the image

Whoever removes does so alone (``Store.alone``), or spares what is young, which a build that is under way may want: a
blob goes only if it was not wanted for ``grace`` seconds and no process holds it, which is looked at under its own
lock. A build that is killed in the middle of this finds some blobs gone and others not: each is whole or absent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from builder.image.documents import Descriptor
from builder.image.names import Digest
from builder.image.views import contents
from builder.store.containers import Containers
from builder.store.layers import LayerInfo
from builder.store.store import Store

GRACE = 3600.0
"""Seconds for which nothing is removed that was made or wanted, by default: longer than most builds take."""

Roots = Callable[[dict[str, Any]], Iterable[str]]
"""The snapshots that a record names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachable:
    """What hangs on images and records."""

    blobs: frozenset[Digest]
    snapshots: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed: counts, and bytes freed in all."""

    records: int
    snapshots: int
    blobs: int
    leftovers: int
    bytes: int


def snapshots_of(record: dict[str, Any]) -> Iterable[str]:
    """The snapshot that a step's record names under ``snapshot``."""
    snapshot = record.get("snapshot")
    return (snapshot,) if isinstance(snapshot, str) else ()


def reachable(store: Store, *, roots: Roots = snapshots_of) -> Reachable:
    """What the store's images and records lead to. An image that lost a blob leads to those that are left."""
    blobs: set[Digest] = set()
    for image in store.images.list():
        blobs |= image_blobs(store, image.descriptor)
    snapshots: set[str] = set()
    for record in store.records:
        for snapshot in roots(record.value):
            follow(store, snapshot, snapshots, blobs)
    for container in Containers(store).list():
        blobs |= image_blobs(store, Descriptor.read(container.manifest))
        follow(store, container.snapshot, snapshots, blobs)
    return Reachable(blobs=frozenset(blobs), snapshots=frozenset(snapshots))


def image_blobs(store: Store, descriptor: Descriptor) -> frozenset[Digest]:
    """The digests of all blobs that hang on an image.

    A document that is not there (another platform's, never pulled) or is damaged leads nowhere; the rest is wanted.
    """
    found = contents(descriptor, lambda item: store.blobs.read(item.digest), lenient=True)
    return frozenset(item.digest for item in found)


def follow(store: Store, snapshot: str, snapshots: set[str], blobs: set[Digest]) -> None:
    """Add *snapshot*, all below it, and their layers' blobs."""
    current: str | None = snapshot
    while current and current not in snapshots:
        snapshots.add(current)
        info = store.layers.get(current)
        if info and info.blob:
            blobs.add(info.blob)
        current = info.parent if info else None


def prune(
    store: Store,
    *,
    unused_for: float | None = None,
    grace: float = GRACE,
    remove_snapshot: Callable[[str], int] | None = None,
    roots: Roots = snapshots_of,
    spare: Reachable | None = None,
) -> Pruned:
    """Remove what nothing leads to and nobody holds.

    unused_for       seconds; records that were not used for longer go first (0: all records, None: none)
    grace            seconds; what was made or wanted within is spared
    remove_snapshot  removes a snapshot that no other stands on, the bytes freed; None: snapshots stay, and with them
                     their layers' blobs
    spare            what stays even if nothing leads to it any more, and counts as wanted now: a build that is under
                     way may have found it before the records and names that led to it were removed
    """
    now = time.time()
    records = _prune_records(store, now - unused_for) if unused_for is not None else 0
    # From here on a crash loses nothing: what the removed records led to is found unreachable by the next prune.
    wanted = reachable(store, roots=roots)
    kept_blobs = set(wanted.blobs)
    needed: set[str] = set()
    for digest in spare.blobs - wanted.blobs if spare else ():
        store.blobs.touch(digest)
        kept_blobs.add(digest)
    for snapshot in spare.snapshots - wanted.snapshots if spare else ():
        store.layers.touch(snapshot)
    snapshots = freed = 0
    unwanted = [info for info in store.layers if info.snapshot not in wanted.snapshots]
    for info in _leaves_first(unwanted):
        # What a running build has just made is named by no record yet: it is spared, with all that it stands on.
        young = store.layers.age(info.snapshot) >= now - grace
        if remove_snapshot is None or young or info.snapshot in needed:
            needed |= {info.parent} if info.parent else set()
            kept_blobs |= {info.blob} if info.blob else set()
            continue
        freed += remove_snapshot(info.snapshot)
        # leaves, if killed here: knowledge about a snapshot that is gone; the next prune removes it
        store.layers.delete(info.snapshot)
        snapshots += 1
    removed = [store.blobs.delete_unwanted(digest, now - grace) for digest in store.blobs if digest not in kept_blobs]
    sizes = [size for size in removed if size is not None]
    return Pruned(
        records=records,
        snapshots=snapshots,
        blobs=len(sizes),
        leftovers=store.scratch.sweep(),
        bytes=freed + sum(sizes),
    )


def _prune_records(store: Store, before: float) -> int:
    old = [record for record in store.records if record.used <= before]
    for record in old:
        store.records.delete(record.step, record.inputs)
    return len(old)


def _leaves_first(infos: list[LayerInfo]) -> list[LayerInfo]:
    """*infos* so that each comes before the one it stands on."""
    by_id = {info.snapshot: info for info in infos}
    depths: dict[str, int] = {}
    for info in infos:
        chain = []
        current: LayerInfo | None = info
        while current and current.snapshot not in depths and current not in chain:
            chain.append(current)
            current = by_id.get(current.parent or "")
        depth = depths.get(current.snapshot, 0) if current else 0
        for item in reversed(chain):
            depth += 1
            depths[item.snapshot] = depth
    return sorted(infos, key=lambda info: -depths[info.snapshot])
