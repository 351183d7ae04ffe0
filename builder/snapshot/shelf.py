"""The folders that snapshots are kept in, whatever kind they are: made, locked, finished by a rename, removed.

::

    <store>/snapshots/<key>/<id>/            a snapshot: fs/, meta.json, and what its kind adds
    <store>/snapshots/<key>/drafts/<id>/     a draft, a layer being unpacked, or a view's mount point

Locks are flock(2) on the folders themselves: they go with the process, and follow a folder through its rename. Whoever
works on a draft holds it exclusively. Whoever looked a snapshot up holds it shared until the process ends, so that
nobody removes what a build counts on; those below it stay because it stands on them. There is no lock on the whole.

What a crash leaves. Of our process: drafts whose lock is free, which ``sweep`` removes; a snapshot is there whole or
not at all, for its folder appears by one rename. Of the machine: without fsync, which would cost more than the step, a
snapshot's files may come back empty although the rename survived. So each says in which boot it was finished, and one
of an earlier boot is trusted only if ``sync`` (one syncfs(2) for all) marked it afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.errors import StoreError
from builder.layer.removal import remove_tree
from builder.snapshot import folders
from builder.snapshot.contract import Draft, Snapshot
from builder.snapshot.stacks import Stacks
from native import syscalls

_DURABLE = "durable"
_META = "meta.json"

AT_ONCE = 256
"""Snapshots locked together to be removed: each lock is a descriptor, and each round looks through the folder once."""


class Shelf:
    """The snapshots of one identity and kind. Threads may share it.

    complete  whether all that a snapshot needs is there; None: the folders of all that it stands on
    """

    def __init__(self, store_root: Path, key: str, *, complete: Callable[[Snapshot], bool] | None = None) -> None:
        self._complete = complete or self._has_all
        self.root = store_root / "snapshots" / key
        self.drafts = self.root / "drafts"
        self._held: dict[str, int] = {}
        self._known: dict[str, Snapshot] = {}
        self._fresh: set[str] = set()
        self._guard = threading.Lock()
        self._removing = threading.Lock()
        self._stacks = Stacks(self._read)
        self.drafts.mkdir(parents=True, exist_ok=True)

    def folder(self, snapshot_id: str) -> Path:
        """Where a snapshot is, or would be."""
        return self.root / snapshot_id

    # Finished

    def get(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot, held from now on, if it and all below it are there and to be trusted."""
        with self._guard:
            known = self._known.get(snapshot_id)
            if known is not None:
                return known
        snapshot = self._read(snapshot_id)
        if snapshot is None or not self._complete(snapshot):
            return None
        # Only who just finished it, or is removing it, holds it exclusively, and neither for long.
        fd = folders.lock(self.folder(snapshot_id), fcntl.LOCK_SH)
        if fd is None:  # removed
            return None
        return self._keep(snapshot, fd)

    def _has_all(self, snapshot: Snapshot) -> bool:
        return all(self.folder(below).is_dir() for below in snapshot.layers)

    def trusts(self, snapshot_id: str) -> bool:
        """Whether the snapshot's own folder is there, and to be trusted."""
        return snapshot_id in self._known or self._read(snapshot_id) is not None

    def _keep(self, snapshot: Snapshot, fd: int) -> Snapshot:
        with self._guard:
            if snapshot.id in self._held:
                os.close(fd)
            else:
                self._held[snapshot.id] = fd
            return self._known.setdefault(snapshot.id, snapshot)

    def _read(self, snapshot_id: str) -> Snapshot | None:
        folder = self.folder(snapshot_id)
        try:
            meta = json.loads((folder / _META).read_bytes())
            snapshot = Snapshot(id=str(meta["id"]), layers=tuple(str(layer) for layer in meta["layers"]))
            if meta["boot"] != folders.boot() and not (folder / _DURABLE).exists():
                return None
        except (OSError, ValueError, KeyError, TypeError):
            # Not there, or torn by a crash of the machine: both mean that it is to be made again.
            return None
        return snapshot if snapshot.id == snapshot_id and snapshot.layers[-1:] == (snapshot_id,) else None

    def finish(self, draft: Draft, snapshot_id: str | None = None) -> Snapshot:
        """Make *draft* a snapshot, by one rename, and hold it."""
        name = snapshot_id or draft.id
        layers = (*draft.parent.layers, name) if draft.parent else (name,)
        meta = {"id": name, "layers": layers, "boot": folders.boot()}
        (draft.folder / _META).write_text(json.dumps(meta))
        target = self.folder(name)
        try:
            os.rename(draft.folder, target)
        except OSError:
            if not target.is_dir():
                raise
            if (other := self.get(name)) is not None:
                self.discard(draft)
                return other
            # What is there is not to be trusted: it is of an earlier boot.
            self._set_aside(name)
            os.rename(draft.folder, target)
        # The change of a lock is not atomic (flock(2)): whoever removes snapshots may have been quicker.
        fcntl.flock(draft.lock, fcntl.LOCK_SH)
        self._must_be(name, draft.lock)
        snapshot = Snapshot(id=name, layers=layers)
        with self._guard:
            self._fresh.add(name)
        return self._keep(snapshot, draft.lock)

    @contextmanager
    def alone(self, snapshot_id: str) -> Iterator[bool]:
        """Hold a snapshot so that no other process does; False, and not so, if another does or this one does not.

        raises   StoreError (``snapshot-lost``) if it was removed: the change of a lock is not atomic (flock(2))
        """
        fd = self._held.get(snapshot_id)
        if fd is None:
            yield False
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            granted = True
        except BlockingIOError:
            granted = False
        try:
            yield granted
        finally:
            fcntl.flock(fd, fcntl.LOCK_SH)
            self._must_be(snapshot_id, fd)

    def _must_be(self, name: str, fd: int) -> None:
        folder = self.folder(name)
        if not folder.is_dir() or not os.path.samestat(os.fstat(fd), os.stat(folder)):
            raise StoreError(f"the snapshot {name} was removed as soon as it was made", code="snapshot-lost")

    def is_fresh(self, snapshot_id: str) -> bool:
        """Whether this process made it, and nothing yet promises that it survives a crash of the machine."""
        with self._guard:
            return snapshot_id in self._fresh

    def renew(self, snapshot_id: str) -> None:
        """Part of a snapshot is about to be written anew: until ``sync``, it is trusted in this boot only."""
        folder = self.folder(snapshot_id)
        meta = json.loads((folder / _META).read_bytes())
        other = folder / f"{_META}.{os.urandom(4).hex()}"
        other.write_text(json.dumps(meta | {"boot": folders.boot()}))
        # In this order a crash of the machine between finds one that is trusted, and whole; after it, one that is not.
        os.rename(other, folder / _META)
        (folder / _DURABLE).unlink(missing_ok=True)
        with self._guard:
            self._fresh.add(snapshot_id)

    def sync(self) -> None:
        """Write all that was finished by this process to the disk, and mark it as trusted after a crash."""
        with self._guard:
            fresh = sorted(self._fresh)
            self._fresh.clear()
        if not fresh:
            return
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.syncfs(fd)
        finally:
            os.close(fd)
        for name in fresh:
            try:
                (self.folder(name) / _DURABLE).touch()
            except FileNotFoundError:
                continue  # removed meanwhile

    # Being made

    def draft(self, parent: Snapshot | None) -> Draft:
        """A new draft: an empty locked folder. The caller makes its tree."""
        while True:
            name = os.urandom(12).hex()
            folder = self.drafts / name
            folder.mkdir(mode=0o700)
            fd = folders.lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fd is not None:  # else a sweep came between
                return Draft(id=name, parent=parent, folder=folder, tree=folder / "fs", lock=fd)

    def claim(self, snapshot_id: str, parent: Snapshot | None, stopped: Callable[[], bool]) -> Draft | None:
        """A draft that is to become *snapshot_id*, and that only one process makes at a time; None if it is there.

        A process that finds another at it waits, and then finds it done, or left and to be done again.
        """
        folder = self.drafts / f"of-{snapshot_id}"
        while True:
            if self.get(snapshot_id) is not None:
                return None
            folder.mkdir(mode=0o700, exist_ok=True)
            fd = folders.lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fd is None:
                if stopped():
                    raise StoreError("unpacking was stopped", code="stopped")
                time.sleep(0.02)
                continue
            if self.get(snapshot_id) is not None:
                folders.discard(folder, fd)
                return None
            for name in os.listdir(folder):  # of somebody who did not finish
                remove_tree(os.fsencode(name), fd)
            return Draft(id=snapshot_id, parent=parent, folder=folder, tree=folder / "fs", lock=fd)

    def discard(self, draft: Draft) -> None:
        """Remove *draft* with all in it."""
        folders.discard(draft.folder, draft.lock)

    # Removed

    def remove(self, snapshot_id: str) -> int:
        """Remove a snapshot; the bytes freed. StoreError if another stands on it or a process uses it."""
        freed, refused = self._remove_some([snapshot_id])
        if not refused:
            return freed[snapshot_id]
        why = f"the snapshot {snapshot_id} is in use"
        if refused[snapshot_id]:
            why = f"the snapshot {self._stacks.first_on(snapshot_id)} stands on {snapshot_id}"
        raise StoreError(why, code="snapshot-in-use")

    def remove_all(self, snapshot_ids: Sequence[str]) -> dict[str, int]:
        """Remove those that no process uses and no other stands on; the bytes that each freed.

        snapshot_ids  in the order in which they may go: what stands on another before that
        """
        freed: dict[str, int] = {}
        for first in range(0, len(snapshot_ids), AT_ONCE):
            freed |= self._remove_some(snapshot_ids[first : first + AT_ONCE])[0]
        return freed

    def _remove_some(self, snapshot_ids: Sequence[str]) -> tuple[dict[str, int], dict[str, bool]]:
        """The bytes freed by those that went; those that stay, and whether because another stands on them."""
        freed: dict[str, int] = {}
        refused: dict[str, bool] = {}
        locks: dict[str, int] = {}
        aside: dict[str, Path] = {}
        try:
            for snapshot_id in snapshot_ids:
                self._let_go(snapshot_id)
                fd = folders.lock(self.folder(snapshot_id), fcntl.LOCK_EX | fcntl.LOCK_NB)
                if fd is not None:
                    locks[snapshot_id] = fd
                elif self.folder(snapshot_id).is_dir():
                    refused[snapshot_id] = False
                else:
                    freed[snapshot_id] = 0
            # With the locks held nobody begins a draft on these; one begun before is a snapshot by now, or holds one.
            with self._removing:
                self._stacks.look(self.all())
                for snapshot_id in locks:
                    if self._stacks.covers(snapshot_id):
                        refused[snapshot_id] = True
                        continue
                    aside[snapshot_id] = self._set_aside(snapshot_id)
                    self._stacks.forget(snapshot_id)
        finally:
            for fd in locks.values():
                os.close(fd)
        return freed | {snapshot_id: folders.remove(gone) for snapshot_id, gone in aside.items()}, refused

    def _let_go(self, snapshot_id: str) -> None:
        with self._guard:
            held = self._held.pop(snapshot_id, None)
            self._known.pop(snapshot_id, None)
            self._fresh.discard(snapshot_id)
        if held is not None:
            os.close(held)

    def _set_aside(self, snapshot_id: str) -> Path:
        # A crash after this rename leaves a draft that nobody holds.
        gone = self.drafts / f"gone-{os.urandom(8).hex()}"
        os.rename(self.folder(snapshot_id), gone)
        return gone

    def all(self) -> list[str]:
        """The ids of all snapshots there are, sorted."""
        with os.scandir(self.root) as found:
            return sorted(item.name for item in found if item.name != self.drafts.name and item.is_dir())

    def sweep(self) -> int:
        """Remove the drafts whose process is gone; how many."""
        count = 0
        for folder in sorted(self.drafts.iterdir()):
            fd = folders.lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fd is not None:
                folders.discard(folder, fd)
                count += 1
        return count
