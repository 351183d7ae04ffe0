"""How much room trees take on the disk, as du(1) counts: blocks, and each file once, whatever names it has."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.engine.behind import behind, identities

if TYPE_CHECKING:
    from builder.store.store import Store

_BLOCK = 512  # bytes of st_blocks' unit. stat(2)

TREES = ("snapshots", "mounts")
"""Folders of the store that hold, for each identity, a folder of trees that may belong to any of its ids."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A snapshot, the drafts, or a cache mount: ``top`` of TREES, and where it is below."""

    top: str
    shelf: str
    name: str


def measured(path: str) -> int:
    """The bytes of all under *path*, itself included; what cannot be read, or vanishes meanwhile, counts as nothing."""
    return sum(size for _, size in walk(path, set()))


def walk(path: str, seen: set[tuple[int, int]], skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, int]]:
    """Each file and folder under *path* and its bytes, those in *seen* left out, nothing below those in *skip*."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            status = os.lstat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            if not stat.S_ISDIR(status.st_mode):
                if status.st_nlink > 1:
                    seen.add((status.st_dev, status.st_ino))
                yield here, status.st_blocks * _BLOCK
                continue
            if here in skip:
                continue
            yield here, status.st_blocks * _BLOCK
            waiting += [f"{here}/{name}" for name in os.listdir(here)]
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue  # removed meanwhile, or of ids that we cannot be


def trees(store: Store) -> tuple[Tree, ...]:
    """All trees there are."""
    found = []
    for top in TREES:
        for shelf in _names(f"{store.root}/{top}"):
            found += [Tree(top, shelf, name) for name in _names(f"{store.root}/{top}/{shelf}")]
    return tuple(found)


def path_of(store: Store, tree: Tree) -> str:
    """Where *tree* is."""
    return f"{store.root}/{tree.top}/{tree.shelf}/{tree.name}"


def tree_sizes(store: Store, wanted: tuple[Tree, ...]) -> dict[Tree, int]:
    """The bytes of each of *wanted*; measured by whoever can read it."""
    if os.geteuid() == 0:
        return {tree: measured(path_of(store, tree)) for tree in wanted}
    sizes: dict[Tree, int] = {}
    for who in identities():
        mine = [tree for tree in wanted if tree not in sizes and is_shelf_of(tree, who.key)]
        if mine:
            sizes |= behind(who, lambda _, mine=mine: {tree: measured(path_of(store, tree)) for tree in mine})  # type: ignore[misc]  # mypy can't infer a lambda's default
    return sizes | {tree: measured(path_of(store, tree)) for tree in wanted if tree not in sizes}


def is_shelf_of(tree: Tree, key: str) -> bool:
    """Whether the identity *key* made the tree."""
    return tree.shelf == key if tree.top == "mounts" else tree.shelf.endswith(f"-{key}")


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
