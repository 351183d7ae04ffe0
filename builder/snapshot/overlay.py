"""Snapshots as overlay layers: a step's upper folder becomes, by a rename, the next step's topmost lower one.

::

    <id>/fs/      the layer; deletions are devices 0:0, opaque folders have user.overlay.opaque=y
    <id>/work-*/  only of a draft: overlayfs' own, a new one for each mount

source   Documentation/filesystems/overlayfs.rst, also for ``userxattr``, which works in a user namespace and without
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.errors import ImageError
from builder.layer import noted, xattrs
from builder.layer.apply import Applied, apply, settle_applied
from builder.layer.changes import Change
from builder.layer.compress import decompressed
from builder.layer.marks import DEVICES, Marks
from builder.layer.ownership import Owner, Owners
from builder.layer.removal import remove_tree
from builder.snapshot.contract import Draft, Packed, Snapshot
from builder.snapshot.lowers import Lowers
from builder.snapshot.shelf import Shelf
from builder.snapshot.unpacking import unpack_all
from builder.snapshot.upper import changes, kept
from native import mounts, syscalls
from native.constants import MNT_DETACH
from native.mounts import Mount

MOST_LAYERS = 500
"""source: linux, fs/overlayfs/params.h, OVL_MAX_STACK"""


class Overlay:
    """Keeps ``snapshot.contract.Snapshotter`` by overlayfs. Threads may share it."""

    name = "overlay"
    _marks: Marks = DEVICES

    def __init__(self, store_root: Path, key: str) -> None:
        self._shelf = Shelf(store_root, key)

    def get(self, snapshot_id: str) -> Snapshot | None:
        """See the contract."""
        return self._shelf.get(snapshot_id)

    def sync(self) -> None:
        """Let what this process made survive a crash of the machine (see ``shelf``): once, at a build's end."""
        self._shelf.sync()

    # Layers

    def unpack(self, layers: Sequence[Packed]) -> Snapshot:
        """See the contract. Layers are unpacked at once, and finished from the lowest up."""
        return unpack_all(self._shelf, layers, self._apply, self._settle)

    def _apply(self, draft: Draft, layer: Packed, report: Callable[[int], None]) -> Applied:
        _new_root(draft.tree)
        with layer.open() as stream:
            plain = decompressed(layer.compression, stream)
            way = "files" if self._marks.apart else "overlay"
            applied = apply(plain, draft.tree, whiteouts=way, report=report)
        noted.note(draft.folder, draft.tree, applied.owners)
        return applied

    def _settle(self, draft: Draft, applied: Applied) -> None:
        settle_applied(draft.tree, applied, self._below(draft.parent), files=self._marks.apart)

    # Drafts

    def prepare(self, parent: Snapshot | None, *, last_use: bool = False) -> Draft:
        """See the contract. The root's own mode, owner and attributes are those of the root below."""
        draft = self._shelf.draft(parent)
        _new_root(draft.tree)
        if parent is not None:
            _copy_root(self.tree(parent), draft.tree)
        return draft

    def commit(self, draft: Draft) -> Snapshot:
        """See the contract, and ``shelf`` for what a crash leaves."""
        for name in os.listdir(draft.lock):
            if name.startswith("work-"):
                remove_tree(os.fsencode(name), draft.lock)
        return self._shelf.finish(draft)

    def discard(self, draft: Draft) -> None:
        """See the contract."""
        self._shelf.discard(draft)

    # Seeing

    def mounts(self, of: Draft | Snapshot, root: Path) -> tuple[Mount, ...]:
        """See the contract."""
        if isinstance(of, Snapshot):
            return (Mount(kind="overlay", target=root, lowers=self._lowers(of), read_only=True),)
        if of.parent is None:
            return (Mount(kind="bind", target=root, source=of.tree),)
        # Without "volatile", unmounting writes the whole upper file system to the disk: 90 ms for one small file. With
        # it a work folder serves one mount only, and durability is sync()'s business. source: overlayfs.rst,
        # "Volatile mount"
        work = of.folder / f"work-{os.urandom(4).hex()}"
        work.mkdir(mode=0o700)
        lowers = self._lowers(of.parent)
        return (Mount(kind="overlay", target=root, lowers=lowers, upper=of.tree, work=work, options=("volatile",)),)

    @contextmanager
    def view(self, of: Draft | Snapshot) -> Iterator[Path]:
        """See the contract. A draft on nothing is its own tree; all else is mounted."""
        if isinstance(of, Draft) and of.parent is None:
            yield of.tree
            return
        place = self._shelf.draft(None)
        try:
            place.tree.mkdir()
            for mount in self.mounts(of, place.tree):
                mounts.perform(mount)
            try:
                yield place.tree
            finally:
                # What the caller left open there keeps it alive for itself alone.
                syscalls.umount(place.tree, MNT_DETACH)
        finally:
            self._shelf.discard(place)

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """See the contract."""
        own = noted.noted(self._shelf.folder(snapshot.id), self.tree(snapshot))
        below = Lowers(self._lowers(snapshot)[1:], self._marks)
        return changes(self.tree(snapshot), below, own, lambda: self._owners(snapshot.layers[:-1]), self._marks)

    def owners(self, of: Draft | Snapshot) -> Owners:
        """See the contract. What a layer noted holds where its file is the topmost one."""
        if isinstance(of, Snapshot):
            return self._owners(of.layers)
        return self._owners(of.parent.layers if of.parent is not None else (), of.folder)

    def _owners(self, layers: Sequence[str], *drafts: Path) -> Owners:
        folders = [*drafts, *(self._shelf.folder(layer) for layer in reversed(layers))]
        if not any((folder / noted.TABLE).exists() for folder in folders):
            return {}
        trees = Lowers([folder / "fs" for folder in folders], self._marks)
        found: dict[bytes, Owner] = {}
        for folder in folders:
            here = os.fsencode(folder / "fs") + b"/"
            for path, owner in noted.noted(folder, folder / "fs").items():
                if trees.find(path) == here + path:
                    found[path] = owner
        return found

    @contextmanager
    def reading(self, snapshot: Snapshot) -> Iterator[Path]:
        """See the contract."""
        yield self.tree(snapshot)

    def tree(self, snapshot: Snapshot) -> Path:
        """The layer's own folder."""
        return self._shelf.folder(snapshot.id) / "fs"

    def remove(self, snapshot_id: str) -> int:
        """See the contract. StoreError (``snapshot-in-use``) if another stands on it, or a process uses it."""
        return self._shelf.remove(snapshot_id)

    def remove_all(self, snapshot_ids: Sequence[str]) -> dict[str, int]:
        """See the contract."""
        return self._shelf.remove_all(snapshot_ids)

    def sweep(self) -> int:
        """See the contract."""
        return self._shelf.sweep()

    def _lowers(self, snapshot: Snapshot) -> tuple[Path, ...]:
        if len(snapshot.layers) > MOST_LAYERS:
            raise ImageError(
                f"{len(snapshot.layers)} layers are more than overlayfs can stack ({MOST_LAYERS})",
                code="too-many-layers",
                hint="join steps, or build with --isolation copy",
            )
        return tuple(self._shelf.folder(layer) / "fs" for layer in reversed(snapshot.layers))

    def _below(self, parent: Snapshot | None) -> Lowers:
        return Lowers(self._lowers(parent) if parent is not None else (), self._marks)


def _new_root(tree: Path) -> None:
    tree.mkdir(mode=0o755)
    tree.chmod(0o755)  # whatever the umask


def _copy_root(source: Path, target: Path) -> None:
    status = os.lstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name, value in kept(xattrs.read(os.fsencode(source))).items():
        xattrs.write(os.fsencode(target), name, value)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
