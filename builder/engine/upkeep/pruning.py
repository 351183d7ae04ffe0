"""``prune``: what nobody wants goes, and what it says it freed is freed.

First names and records are removed, and the blobs that nothing leads to then; that is quick, and done while nobody else
uses the store, or else so that what is young or was wanted a moment ago stays. Trees come after it: a tree that a
process uses is locked by it, and stays as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.behind import behind, identities
from builder.engine.images.kept import Image, Removed, images, remove
from builder.engine.upkeep.lru import over
from builder.engine.upkeep.measuring import Tree, is_shelf_of, path_of, trees, walk
from builder.engine.upkeep.sweeping import remove_trees
from builder.image.configuration import chain_id
from builder.store.containers import Container, Containers
from builder.store.gc import GRACE, Reachable, follow, reachable, snapshots_of
from builder.store.gc import prune as collect

if TYPE_CHECKING:
    from builder.image.names import Digest, Platform
    from builder.store.records import Record
    from builder.store.store import Store

KINDS = ("none", "dangling", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What may go.

    containers   whether containers are among it
    images       of KINDS: those without a name, or all that no container was made of
    cache        of KINDS: what is part of no image that stays, or all of it, with cache mounts
    before       only what was made (of the cache: last used) before that moment, seconds since the epoch
    labelled     whether an image or a container with these labels may go
    keep         bytes of build cache that may stay: the longest unused goes first
    """

    containers: bool
    images: str
    cache: str
    before: float | None = None
    labelled: Callable[[dict[str, str]], bool] | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What went. ``alone``: nobody else used the store, so that nothing had to be spared."""

    containers: tuple[str, ...]
    images: tuple[Removed, ...]
    cache: tuple[str, ...]
    bytes: int
    alone: bool


Created = Callable[[str | None], float]
"""Gives the moment that an RFC 3339 text says, in seconds since the epoch; 0 for none."""


def prune(store: Store, request: PruneRequest, platform: Platform, created: Created) -> PruneReport:
    """Remove what *request* says; *store* must not be in use by ``with``, else it can never be had alone."""
    sizes = _cache_sizes(store) if request.keep is not None else {}
    with store.alone() as alone:
        files = _files(store)
        # A container's root is locked by whoever uses it; all else may have been found by builds just now.
        containers = _containers(store, request, created)
        was = None if alone else reachable(store)
        gone = _images(store, request, platform, created)
        _records(store, request, platform, sizes)
        # What is known of snapshots goes here and now, their trees behind the gate when others may work again.
        later = _nothing if request.cache != "none" else None
        age = time.time() - request.before if request.before is not None else 0.0
        collect(store, grace=max(age, 0.0 if alone else GRACE), remove_snapshot=later, spare=was)
        unwanted = _unwanted(store, request, platform, was, containers, alone=alone)
        if request.cache == "all" and alone and request.before is None and request.keep is None:
            for name in _names(store.root / "memory"):
                (store.root / "memory" / name).unlink(missing_ok=True)
        for shard in _names(store.root / "records") if alone else ():
            with suppress(OSError):  # it holds records
                (store.root / "records" / shard).rmdir()
        freed = sum(size for path, size in files.items() if not os.path.lexists(path))
    removed, trees_freed = _remove(store, unwanted)
    roots = {one.snapshot for one in containers}
    return PruneReport(
        containers=tuple(one.id for one in containers),
        images=gone,
        cache=tuple(dict.fromkeys(tree.name for tree in removed if tree.name not in roots)),
        bytes=freed + trees_freed,
        alone=alone,
    )


def _nothing(snapshot: str) -> int:
    return 0


def _files(store: Store) -> dict[str, int]:
    skip = frozenset(path_of(store, tree) for tree in trees(store))
    return dict(walk(str(store.root), set(), skip))


def _cache_sizes(store: Store) -> dict[str, int]:
    from builder.engine.upkeep.usage import usage

    found = usage(store)
    return {entry.id: entry.size for entry in found.cache}


def _containers(store: Store, request: PruneRequest, created: Created) -> list[Container]:
    if not request.containers:
        return []
    containers = Containers(store)
    found = [
        one
        for one in containers.list()
        if (request.before is None or created(one.created) < request.before)
        and (request.labelled is None or request.labelled(one.config.get("Labels") or {}))
    ]
    for one in found:
        containers.delete(one)
        store.layers.delete(one.snapshot)
    return found


def _images(store: Store, request: PruneRequest, platform: Platform, created: Created) -> tuple[Removed, ...]:
    if request.images == "none":
        return ()
    used = {one.image for one in Containers(store).list()}
    removed: list[Removed] = []
    for image in images(store, platform):
        if (image.names and request.images != "all") or image.id in used or not _may_go(image, request, created):
            continue
        if image.names:
            for name in image.names:
                removed += remove(store, str(name), platform, force=True, users=())
        elif store.images.forget(image.top.digest):
            removed.append(Removed("Deleted", str(image.id)))
    return tuple(removed)


def _may_go(image: Image, request: PruneRequest, created: Created) -> bool:
    if request.before is not None and created(image.created) >= request.before:
        return False
    labels = dict(image.config.config.labels) if image.config else {}
    return request.labelled is None or request.labelled(labels)


def _records(store: Store, request: PruneRequest, platform: Platform, sizes: dict[str, int]) -> None:
    """Remove records of steps, and with them the ways to their snapshots."""
    if request.cache == "none":
        return
    stays = _of_images(store, platform) if request.cache == "dangling" else frozenset()
    found = [record for record in store.records if _may_be_forgotten(record, request, stays, store)]
    if request.keep is not None:
        found = over(found, request.keep, sizes, store)
    for record in found:
        store.records.delete(record.step, record.inputs)


def _may_be_forgotten(record: Record, request: PruneRequest, stays: frozenset[str], store: Store) -> bool:
    if request.before is not None and record.used >= request.before:
        return False
    snapshots = tuple(snapshots_of(record.value))
    if snapshots:
        return not any(snapshot in stays for snapshot in snapshots)
    return request.cache == "all"


def _of_images(store: Store, platform: Platform) -> frozenset[str]:
    """The snapshots whose layers are in an image, and all that these stand on."""
    diff_ids: set[Digest] = {
        diff_id for image in images(store, platform) if image.config for diff_id in image.config.diff_ids
    }
    found: set[str] = set()
    for info in store.layers:
        if info.diff_id in diff_ids:
            follow(store, info.snapshot, found, set())
    return frozenset(found)


def _unwanted(
    store: Store,
    request: PruneRequest,
    platform: Platform,
    was: Reachable | None,
    containers: list[Container],
    *,
    alone: bool,
) -> tuple[Tree, ...]:
    """The trees that nothing leads to any more."""
    roots = tuple(Tree("snapshots", one.shelf, one.snapshot) for one in containers)
    if request.cache == "none":
        return roots
    keep = {info.snapshot for info in store.layers} | set(reachable(store).snapshots)
    keep |= was.snapshots if was else set()
    if request.cache == "dangling":
        keep |= set(_bases(images(store, platform)))
    all_trees = trees(store)
    for tree in all_trees:
        if tree.name in keep:
            keep |= set(_below(store, tree))
    limit = time.time() - (0 if alone else GRACE)
    limit = min(limit, request.before) if request.before is not None else limit
    # A cache mount is locked by commands, but not before they have found it.
    mounts = request.cache == "all" and alone and request.keep is None
    return tuple(
        tree
        for tree in all_trees
        if tree.name != "drafts"
        and (tree in roots or tree.name not in keep)
        and (tree.top == "snapshots" or mounts)
        and (tree in roots or _made(store, tree) < limit)
    )


def _bases(here: Iterable[Image]) -> Iterable[str]:
    for image in here:
        if image.config:
            ids = image.config.diff_ids
            yield from (f"base-{chain_id(ids[: count + 1]).hex}" for count in range(len(ids)))


def _below(store: Store, tree: Tree) -> tuple[str, ...]:
    """What a snapshot stands on, as it says itself."""
    import json

    try:
        layers = json.loads(Path(path_of(store, tree), "meta.json").read_bytes())["layers"]
        return tuple(str(layer) for layer in layers)
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # not whole: it is to be made again anyway


def _made(store: Store, tree: Tree) -> float:
    try:
        return os.stat(path_of(store, tree)).st_mtime
    except OSError:
        return 0.0


def _remove(store: Store, unwanted: tuple[Tree, ...]) -> tuple[list[Tree], int]:
    """Remove trees, and what processes that are gone left behind, by whoever can."""
    removed: list[Tree] = []
    freed = 0
    shelves = {tree.shelf for tree in trees(store)}
    left = any((store.root / "tmp").glob("*")) or any(
        _names(Path(path_of(store, Tree("snapshots", shelf, "drafts")))) for shelf in shelves
    )
    if not unwanted and not left:
        return removed, freed
    for who in identities():
        mine = [tree for tree in unwanted if tree not in removed and is_shelf_of(tree, who.key)]
        own = tuple(shelf for shelf in shelves if shelf.endswith(f"-{who.key}"))
        if not mine and not own and not left:
            continue
        gone, size = behind(who, lambda _, mine=mine, own=own: remove_trees(store, mine, own))  # type: ignore[misc]  # mypy can't infer a lambda's default
        removed += gone
        freed += size
    return removed, freed


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
