"""Trees removed, behind the gate, where all their owners are mapped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.behind import snapshotter_of
from builder.engine.upkeep.measuring import Tree, measured, path_of
from builder.layer.removal import remove_tree

if TYPE_CHECKING:
    from builder.store.store import Store


def remove_trees(store: Store, unwanted: Sequence[Tree], shelves: Sequence[str]) -> tuple[list[Tree], int]:
    """Remove *unwanted* and what dead processes left; those that went, and the bytes freed.

    shelves  the folders of snapshots whose drafts may be looked through
    """
    removed: list[Tree] = []
    sizes = {tree: measured(path_of(store, tree)) for tree in _leaves_first(store, unwanted)}
    for shelf, trees in _by_shelf(sizes).items():
        names = [tree.name for tree in trees]
        # A build may hold some, or have made others on them just now: those stay.
        gone = snapshotter_of(store.root, shelf).remove_all(names) if shelf else _clear_all(store, trees)
        removed += [tree for tree in trees if tree.name in gone]
    freed = sum(sizes[tree] for tree in removed)
    folders = [Path(path_of(store, Tree("snapshots", shelf, "drafts"))) for shelf in shelves]
    before = {path: measured(str(path)) for folder in (*folders, store.root / "tmp") for path in _inside(folder)}
    for shelf in shelves:
        snapshotter_of(store.root, shelf).sweep()
    store.scratch.sweep()
    return removed, freed + sum(size for path, size in before.items() if not path.exists())


def _by_shelf(trees: Iterable[Tree]) -> dict[str, list[Tree]]:
    """Snapshots by the shelf that they are on; the folders of cache mounts under ""."""
    found: dict[str, list[Tree]] = {}
    for tree in trees:
        found.setdefault("" if tree.top == "mounts" else tree.shelf, []).append(tree)
    return found


def _leaves_first(store: Store, unwanted: Sequence[Tree]) -> list[Tree]:
    """So that none stands on what is removed before it: a snapshot names all that it stands on."""
    return sorted(unwanted, key=lambda tree: -_depth(store, tree))


def _depth(store: Store, tree: Tree) -> int:
    import json

    try:
        return len(json.loads(Path(path_of(store, tree), "meta.json").read_bytes())["layers"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # nothing stands on what is not whole


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _clear_all(store: Store, trees: Sequence[Tree]) -> set[str]:
    for tree in trees:
        _clear(Path(path_of(store, tree)))
    return {tree.name for tree in trees}


def _clear(path: Path) -> None:
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_tree(os.fsencode(path.name), parent)
    except FileNotFoundError:
        pass  # another prune was quicker
    finally:
        os.close(parent)
