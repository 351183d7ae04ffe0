"""Layers of snapshots as tars in the store: as they are, or with no time later than a given one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.image.documents import OCI_LAYER, Descriptor
from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.snapshot.contract import Snapshot, Snapshotter
    from builder.store.store import Store


@dataclass(frozen=True, slots=True)
class PackedSnapshot:
    """A snapshot's layer as an uncompressed tar. ``created``: when a step made it, RFC 3339."""

    descriptor: Descriptor
    diff_id: Digest
    created: str


def find_packed(store: Store, snapshot: str, clamp: int | None) -> PackedSnapshot | None:
    """The layer of *snapshot*, if the store has it.

    clamp   seconds since the epoch that no time in it is later than; None: as the files are
    """
    info = store.layers.get(snapshot)
    if info is None:
        return None
    if clamp is None:
        blob, diff_id, size = info.blob, info.diff_id, info.size
    else:
        record = store.records.find(_clamped(clamp), Digest.of(snapshot.encode())) or {}
        blob = diff_id = Digest(record["blob"]) if "blob" in record else None
        size = int(record.get("size", 0))
    if blob is None or diff_id is None or not store.blobs.has(blob, size):
        return None
    descriptor = Descriptor(media_type=OCI_LAYER, digest=blob, size=size)
    return PackedSnapshot(descriptor, diff_id, info.created or "")


def pack_snapshot(store: Store, snapshotter: Snapshotter, snapshot: Snapshot, clamp: int | None) -> None:
    """Write the layer of *snapshot* to the store, unless it is there."""
    from builder.layer.pack import pack

    if find_packed(store, snapshot.id, clamp) is not None:
        return
    with snapshotter.reading(snapshot) as tree, store.blobs.writer() as writer:
        packed = pack(snapshotter.changes(snapshot), tree, writer, clamp=clamp)
        blob = writer.commit()
    if clamp is None:
        store.layers.update(snapshot.id, diff_id=packed.diff_id, blob=blob, media_type=OCI_LAYER, size=packed.size)
    else:
        record = {"blob": blob, "size": packed.size}
        store.records.put(_clamped(clamp), Digest.of(snapshot.id.encode()), record)


def _clamped(clamp: int) -> Digest:
    return Digest.of(f"layers with no time after {clamp}".encode())
