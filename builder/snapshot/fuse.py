"""Snapshots as layers that the program fuse-overlayfs stacks, where the kernel's overlayfs cannot go.

::

    <id>/fs/       the layer; deletions are files .wh.NAME, opaque folders have one called .wh..wh..opq
    <id>/merged/   only of a draft: where the program shows the layer on those below it
    <id>/work-*/   only of a draft: the program's own

The program serves a draft from the first look at it until it is finished or thrown away, so that a command and we see
the same. It is told to make no devices 0:0, which not every file system takes. It ends when nothing has its mount any
more, having written all; and with the namespace at the latest.

What it does otherwise than overlayfs is prevented before it begins (``fragile``) and mended after it ended
(``mending``), as far as that can be; ``faithful`` tells the rest.

source   fuse-overlayfs(1); fuse(4)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.layer import noted
from builder.layer.marks import FILES
from builder.snapshot import fragile
from builder.snapshot.contract import Draft, Snapshot
from builder.snapshot.mending import mend_times
from builder.snapshot.overlay import Overlay
from builder.snapshot.serving import Serving, serve
from native.mounts import Mount

_TICK = 0.01
"""Seconds: what is changed within the tick of the clock in which it was made has the same ctime. source: time(7)"""


class FuseOverlay(Overlay):
    """Keeps ``snapshot.contract.Snapshotter`` by fuse-overlayfs. Threads may share it."""

    name = "fuse-overlayfs"
    _marks = FILES

    def __init__(self, store_root: Path, key: str) -> None:
        super().__init__(store_root, key)
        self._serving: dict[str, Serving] = {}  # by draft, or by snapshot that a command sees
        self._began: dict[str, tuple[fragile.Placed, int]] = {}  # by draft: what was put there, and when that was
        self._starting = threading.Lock()

    def commit(self, draft: Draft) -> Snapshot:
        """See the contract, and ``shelf`` for what a crash leaves."""
        self._end(draft)
        placed, began = self._began.pop(draft.id, ({}, 0))
        if began:
            inodes = {path: known[0] for path, known in placed.items()}
            mend_times(draft.tree, self._below(draft.parent), inodes, began)
            fragile.take_back(draft.tree, placed)
        return super().commit(draft)

    def discard(self, draft: Draft) -> None:
        """See the contract."""
        self._end(draft)
        self._began.pop(draft.id, None)
        super().discard(draft)

    def mounts(self, of: Draft | Snapshot, root: Path) -> tuple[Mount, ...]:
        """See the contract. What shows a snapshot goes on to show it until this process ends."""
        if isinstance(of, Draft) and of.parent is None:
            return super().mounts(of, root)
        if isinstance(of, Snapshot):
            if len(of.layers) == 1:
                return (Mount(kind="bind", target=root, source=self.tree(of), read_only=True),)
            return (Mount(kind="bind", target=root, source=self._shown(of), read_only=True),)
        return (Mount(kind="bind", target=root, source=self._served(of)),)

    @contextmanager
    def view(self, of: Draft | Snapshot) -> Iterator[Path]:
        """See the contract. A draft on nothing, and a single layer, are their own trees; all else is served."""
        if isinstance(of, Draft):
            yield of.tree if of.parent is None else self._served(of)
            return
        if len(of.layers) == 1:
            yield self.tree(of)
            return
        place = self._shelf.draft(None)
        try:
            place.tree.mkdir()
            serving = serve(self._shelf.root, self._lowers(of), place.tree)
            try:
                yield place.tree
            finally:
                serving.end()
        finally:
            self._shelf.discard(place)

    def _served(self, draft: Draft) -> Path:
        """Where *draft* is shown."""
        assert draft.parent is not None
        target = draft.folder / "merged"
        with self._starting:
            if draft.id not in self._serving:
                work = draft.folder / f"work-{os.urandom(4).hex()}"
                for folder in (target, work):
                    folder.mkdir(mode=0o700)
                lowers = self._lowers(draft.parent)
                if draft.id not in self._began:
                    self._began[draft.id] = self._prepared(draft, lowers), time.time_ns()
                self._serving[draft.id] = serve(self._shelf.root, lowers, target, upper=draft.tree, work=work)
        return target

    def _prepared(self, draft: Draft, lowers: tuple[Path, ...]) -> fragile.Placed:
        """What was put into the draft before anybody sees it, with the owners that were noted of it."""
        owners = self.owners(draft)
        placed = fragile.place(draft.tree, lowers)
        noted.note(draft.folder, draft.tree, {path: owner for path, owner in owners.items() if path in placed})
        if placed:
            time.sleep(_TICK)
        return placed

    def _shown(self, snapshot: Snapshot) -> Path:
        with self._starting:
            if snapshot.id not in self._serving:
                place = self._shelf.draft(None)  # it is swept when this process is gone
                place.tree.mkdir()
                self._serving[snapshot.id] = serve(self._shelf.root, self._lowers(snapshot), place.tree)
            return self._serving[snapshot.id].target

    def _end(self, draft: Draft) -> None:
        with self._starting:
            serving = self._serving.pop(draft.id, None)
        if serving is not None:
            serving.end()
            serving.target.rmdir()
