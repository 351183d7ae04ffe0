"""What a snapshotter is: the contract that overlay, fuse-overlayfs and copies keep alike.

Four words. A **snapshot** is a finished root file system, never changed again, known by its id and standing on its
parent. A **draft** is a root being written on top of a snapshot. ``prepare`` makes a draft, ``commit`` makes it a
snapshot, ``discard`` throws it away. **Mounts** describe how a command sees a draft or a snapshot as its root; they are
performed by the sandbox, in the command's own mount namespace. A **view** opens the merged tree of a draft or a
snapshot for our own process.

Life cycle::

    draft = snapshotter.prepare(parent)          # a folder under drafts/, locked
    … a command runs in snapshotter.mounts(draft), or files are copied through snapshotter.view(draft) …
    snapshot = snapshotter.commit(draft)         # one rename; durable when it returns
    for change in snapshotter.changes(snapshot): # against its parent; feeds layer.pack

Whoever prepares a draft may say that this is its parent's last use: that nobody is expected to look at the parent's
tree again. A snapshotter of copies then takes the tree over, where it would else copy all of it. The parent stays a
snapshot all the same, with what it changed: it can be asked for everything, at the cost of its tree being made again.

A process that dies between leaves a draft whose lock is free; ``sweep`` removes it. All methods are called behind the
gate, as root of the namespace that the tree's owners are mapped in.

source   containerd core/snapshots, whose vocabulary this follows
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from builder.image.names import Digest
from builder.layer.changes import Change
from builder.layer.ownership import Owners
from native.mounts import Mount


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A finished root.

    id      unique in the store: ``base-<chain id hex>`` for unpacked images, a random name for steps' results
    layers  the ids of this snapshot and all below it, lowest first (the last is ``id``)
    """

    id: str
    layers: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Draft:
    """A root being written. ``tree`` is the folder where writes land: overlay's upper folder, or the whole copy."""

    id: str
    parent: Snapshot | None
    folder: Path
    tree: Path
    lock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer that is to be unpacked.

    chain    chain id of the stack up to and with this layer; with ``diff_id`` known and to be verified
    open     opens the compressed bytes, possibly while they are being downloaded; the reader verifies their digest
    report   receives the number of uncompressed bytes as they are unpacked
    """

    chain: Digest
    diff_id: Digest
    compression: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    report: Callable[[int], None] = lambda _: None


class Snapshotter(Protocol):
    """See the module's text."""

    name: str
    """``overlay``, ``fuse-overlayfs`` or ``copy``."""

    def get(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot of that id, if it and all below it are there."""
        ...

    def unpack(self, layers: Sequence[Packed]) -> Snapshot:
        """The snapshot of a stack of layers, those that are already there not opened. Several at once where it can.

        raises   ImageError if a layer's diff_id is not what it must be, or an entry is malformed
        """
        ...

    def prepare(self, parent: Snapshot | None, *, last_use: bool = False) -> Draft:
        """A draft on top of *parent*; None: of an empty root (0:0, 0755).

        last_use   nobody is expected to want the parent's tree from now on
        """
        ...

    def commit(self, draft: Draft) -> Snapshot:
        """Make *draft* a snapshot under its own id."""
        ...

    def discard(self, draft: Draft) -> None:
        """Remove *draft* and all in it, whatever its modes and owners."""
        ...

    def mounts(self, of: Draft | Snapshot, root: Path) -> tuple[Mount, ...]:
        """How to see a draft (writable) or a snapshot (read-only) at *root*."""
        ...

    def view(self, of: Draft | Snapshot) -> AbstractContextManager[Path]:
        """The merged tree, at a path of our own process's mount namespace."""
        ...

    def owners(self, of: Draft | Snapshot) -> Owners:
        """Owners of links and special files that the file system does not hold, by path in the merged tree.

        Those of files and folders are recorded on them (``layer.ownership``), and seen in every view.
        """
        ...

    def changes(self, snapshot: Snapshot) -> Iterator[Change]:
        """What *snapshot* changed against its parent, sorted."""
        ...

    def reading(self, snapshot: Snapshot) -> AbstractContextManager[Path]:
        """The folder from which the file contents of ``changes`` are read, by the entries' paths.

        No draft takes them over while the block lasts.
        """
        ...

    def remove(self, snapshot_id: str) -> int:
        """Remove a snapshot that no other stands on; the bytes freed."""
        ...

    def remove_all(self, snapshot_ids: Sequence[str]) -> dict[str, int]:
        """Remove those that nothing uses or stands on, what stands on another given before that; the bytes each freed.

        Each snapshot that there is is read once, however many are removed.
        """
        ...

    def sweep(self) -> int:
        """Remove drafts whose process is gone; how many."""
        ...

    def sync(self) -> None:
        """Let what this process committed and unpacked survive a crash of the machine: once, at a build's end.

        Until then a snapshot is trusted until the next boot only.
        """
        ...
