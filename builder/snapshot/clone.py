"""Snapshots as whole trees, where overlayfs cannot go: copied, by reference where the file system can (reflink).

::

    <id>/fs/      the whole root
    <id>/index    what it was when it was copied: path → (inode, ctime, mtime, size, mode, owner), for ``changes``

Changes are found by one pass of ``lstat``: the kernel gives a file that is touched in any way a new ctime, which nobody
can set. A snapshot needs none of those below it. What ``sameness`` does makes the layers those of overlayfs.
"""

from __future__ import annotations

import marshal
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from builder.errors import HostError, ImageError, StoreError
from builder.layer import noted, scan
from builder.layer.apply import apply
from builder.layer.changes import Change
from builder.layer.compress import decompressed
from builder.layer.ownership import Owners
from builder.snapshot.contract import Draft, Packed, Snapshot
from builder.snapshot.copying import copy_tree
from builder.snapshot.sameness import Parted, restore
from builder.snapshot.shelf import Shelf
from builder.snapshot.unpacking import base_id
from native.mounts import Mount

_INDEX = "index"
_MARSHAL = 4  # the format that every Python from 3.4 on reads


class Clone:
    """Keeps ``snapshot.contract.Snapshotter`` by copies. Threads may share it."""

    name = "copy"

    def __init__(self, store_root: Path, key: str) -> None:
        self._shelf = Shelf(store_root, key, stacked=False)
        self._parted: dict[str, Parted] = {}  # of each draft

    def get(self, snapshot_id: str) -> Snapshot | None:
        """See the contract."""
        return self._shelf.get(snapshot_id)

    def sync(self) -> None:
        """Let what this process made survive a crash of the machine (see ``shelf``): once, at a build's end."""
        self._shelf.sync()

    def unpack(self, layers: Sequence[Packed]) -> Snapshot:
        """See the contract. One layer after the other into one tree; only the whole stack becomes a snapshot."""
        if not layers:
            raise ImageError("an image without layers has no root file system", code="no-layers")
        names = tuple(base_id(layer) for layer in layers)
        below = Snapshot(id=names[-2], layers=names[:-1]) if len(names) > 1 else None
        draft = self._shelf.claim(names[-1], below, lambda: False)
        if draft is None:
            found = self._shelf.get(names[-1])
            if found is None:
                raise StoreError(f"the snapshot {names[-1]} vanished while it was needed", code="snapshot-lost")
            return found
        try:
            done = self._begin(draft, names)
            for layer in layers[done:]:
                self._apply(draft, layer)
            self._remember(draft)
        except BaseException:
            self._shelf.discard(draft)
            raise
        return self._shelf.finish(draft, names[-1])

    def _begin(self, draft: Draft, names: tuple[str, ...]) -> int:
        """Start from the highest part of the stack that is there; how many layers it has."""
        for count in range(len(names) - 1, 0, -1):
            found = self._shelf.get(names[count - 1])
            if found is not None:
                self._copy(found, draft, part=False)
                return count
        _new_root(draft.tree)
        return 0

    def _apply(self, draft: Draft, layer: Packed) -> None:
        with layer.open() as stream:
            plain = decompressed(layer.compression, stream)
            applied = apply(plain, draft.tree, whiteouts="remove", report=layer.report)
        noted.note(draft.folder, draft.tree, applied.owners)
        if applied.diff_id != layer.diff_id:
            raise ImageError(
                f"a layer's content is {applied.diff_id}, and the image says {layer.diff_id}", code="diff-id-mismatch"
            )

    def prepare(self, parent: Snapshot | None) -> Draft:
        """See the contract."""
        draft = self._shelf.draft(parent)
        try:
            if parent is None:
                _new_root(draft.tree)
            else:
                self._parted[draft.id] = self._copy(parent, draft, part=True)
            self._remember(draft)
        except BaseException:
            self.discard(draft)
            raise
        return draft

    def _copy(self, parent: Snapshot, draft: Draft, *, part: bool) -> Parted:
        parted = copy_tree(self.tree(parent), draft.tree, part=part)
        # Anew, for the copies have inodes of their own.
        noted.note(draft.folder, draft.tree, self.owners(parent))
        return parted

    def _remember(self, draft: Draft) -> None:
        known = scan.index(draft.tree)
        (draft.folder / _INDEX).write_bytes(marshal.dumps(known, _MARSHAL))
        # Times come from a clock that advances with the scheduler's tick, 10 ms at most (time(7), "The software clock,
        # HZ, and jiffies"): a change within the tick of the copy would have the same ctime.
        time.sleep(0.01)

    def commit(self, draft: Draft) -> Snapshot:
        """See the contract, and ``shelf`` for what a crash leaves."""
        parted = self._parted.pop(draft.id, [])
        if draft.parent is not None:
            index = draft.folder / _INDEX
            before = _known(index)
            if restore(before, parted, draft.tree, self.tree(draft.parent)):
                index.write_bytes(marshal.dumps(before, _MARSHAL))
        return self._shelf.finish(draft)

    def discard(self, draft: Draft) -> None:
        """See the contract."""
        self._parted.pop(draft.id, None)
        self._shelf.discard(draft)

    def mounts(self, of: Draft | Snapshot, root: Path) -> tuple[Mount, ...]:
        """See the contract.

        raises   HostError where nothing could be executed: a bind has the flags of what it shows, an overlay not
        """
        if os.statvfs(self._shelf.root).f_flag & os.ST_NOEXEC:
            raise HostError(
                f"no command can be run from copies in {self._shelf.root}: its file system is mounted noexec",
                code="store-noexec",
                hint="put the store on another file system with --root or PYBUILD_ROOT, or use --isolation overlay",
            )
        if isinstance(of, Draft):
            return (Mount(kind="bind", target=root, source=of.tree),)
        return (Mount(kind="bind", target=root, source=self.tree(of), read_only=True),)

    @contextmanager
    def view(self, of: Draft | Snapshot) -> Iterator[Path]:
        """See the contract: the tree itself. Of a snapshot it is to be read only, which nothing enforces here."""
        yield of.tree if isinstance(of, Draft) else self.tree(of)

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """See the contract."""
        before = _known(self._shelf.folder(snapshot.id) / _INDEX)
        return scan.difference(before, self.tree(snapshot), self.owners(snapshot))

    def owners(self, of: Draft | Snapshot) -> Owners:
        """See the contract."""
        folder = of.folder if isinstance(of, Draft) else self._shelf.folder(of.id)
        return noted.noted(folder, folder / "fs")

    def tree(self, snapshot: Snapshot) -> Path:
        """See the contract: the whole root."""
        return self._shelf.folder(snapshot.id) / "fs"

    def remove(self, snapshot_id: str) -> int:
        """See the contract. StoreError (``snapshot-in-use``) if a process uses it."""
        return self._shelf.remove(snapshot_id)

    def remove_all(self, snapshot_ids: Sequence[str]) -> dict[str, int]:
        """See the contract."""
        return self._shelf.remove_all(snapshot_ids)

    def sweep(self) -> int:
        """See the contract."""
        return self._shelf.sweep()


def _known(index: Path) -> dict[bytes, scan.Known]:
    try:
        return cast(dict[bytes, scan.Known], marshal.loads(index.read_bytes()))
    except (OSError, ValueError, EOFError, TypeError) as e:
        name = index.parent.name
        raise StoreError(f"the index of the snapshot {name} cannot be read: {e}", code="damaged-snapshot") from e


def put_back(draft: Draft, paths: Iterable[bytes]) -> None:
    """Remember *paths* of a copied tree as they are now: they were moved away and back, and nobody touched them.

    A rename changes the ctime, by which else they would be taken for changed.
    """
    paths = list(paths)
    if not paths:
        return
    place = draft.folder / _INDEX
    known = _known(place)
    for path in paths:
        if path in known:  # else it was made for a command, and is gone
            known[path] = scan.state(os.lstat(os.fsencode(draft.tree) + b"/" + path)), known[path][1]
    place.write_bytes(marshal.dumps(known, _MARSHAL))


def _new_root(tree: Path) -> None:
    tree.mkdir(mode=0o755)
    tree.chmod(0o755)  # whatever the umask
