"""What changed: in a container, in an image's last layer, or between two images.

A /new        added
C /etc        changed, or something in it is
D /old        deleted
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.engine.behind import behind, identity_of, snapshotter_of
from builder.errors import ImageError, StoreError
from builder.image.documents import Descriptor, compression_of
from builder.layer.changes import OPAQUE, WHITEOUT, Entry, Removed
from builder.snapshot.contract import Snapshot

if TYPE_CHECKING:
    from builder.engine.images.kept import Image
    from builder.layer.members import Member
    from builder.layer.reader import Reader
    from builder.store.containers import Container
    from builder.store.store import Store


@dataclass(frozen=True, slots=True)
class Difference:
    """One line: ``kind`` is A, C or D; ``path`` absolute."""

    kind: str
    path: str


def of_container(store: Store, container: Container) -> list[Difference]:
    """What the container's command changed."""
    return behind(identity_of(container.shelf), lambda _: _changed(store, container))


def _changed(store: Store, container: Container) -> list[Difference]:
    snapshotter = snapshotter_of(store.root, container.shelf)
    snapshot = snapshotter.get(container.snapshot)
    if snapshot is None:
        raise StoreError(f"the root of {container.name} is gone", code="missing-snapshot")
    changes = list(snapshotter.changes(snapshot))
    if len(snapshot.layers) == 1:
        return _lines({change.path: "A" for change in changes if isinstance(change, Entry)})
    parent = Snapshot(id=snapshot.layers[-2], layers=snapshot.layers[:-1])
    kinds: dict[bytes, str] = {}
    with snapshotter.view(parent) as below:
        base = os.fsencode(below)
        for change in changes:
            path = base + b"/" + change.path
            if isinstance(change, Removed):
                kinds[change.path] = "D"
            else:
                kinds[change.path] = "C" if os.path.lexists(path) else "A"
    return _lines(kinds)


@dataclass(frozen=True, slots=True)
class _Node:
    """A file as far as differences are told; ``content`` None where nobody read it."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: bytes
    rdev: int
    content: bytes | None

    def differs(self, other: _Node) -> bool:
        if self.kind == b"5" and other.kind == b"5":
            # A folder's time says no more than that something in it changed.
            return (self.mode, self.uid, self.gid) != (other.mode, other.uid, other.gid)
        own, others = (
            (node.kind, node.mode, node.uid, node.gid, node.size, node.link, node.rdev) for node in (self, other)
        )
        if own != others:
            return True
        if self.content is not None and other.content is not None:
            return self.content != other.content
        return self.mtime != other.mtime


def of_image(store: Store, image: Image) -> list[Difference]:
    """What the image's last layer changed."""
    manifest, _ = image.whole()
    if not manifest.layers:
        return []
    return _between(store, manifest.layers[:-1], manifest.layers)


def of_images(store: Store, before: Image, after: Image) -> list[Difference]:
    """What makes *after* another than *before*."""
    return _between(store, before.whole()[0].layers, after.whole()[0].layers)


def _between(store: Store, before: tuple[Descriptor, ...], after: tuple[Descriptor, ...]) -> list[Difference]:
    same = 0
    while same < min(len(before), len(after)) and before[same].digest == after[same].digest:
        same += 1
    # What both have needs to be read once, and contents only where they could differ.
    shared: dict[bytes, _Node] = {}
    for layer in before[:same]:
        _lay(store, layer, shared, read=False)
    old, new = dict(shared), dict(shared)
    for layers, tree in ((before[same:], old), (after[same:], new)):
        for layer in layers:
            _lay(store, layer, tree, read=True)
    kinds = dict.fromkeys(old.keys() - new.keys(), "D")
    kinds |= dict.fromkeys(new.keys() - old.keys(), "A")
    kinds |= {path: "C" for path in old.keys() & new.keys() if old[path].differs(new[path])}
    # Of what was deleted, the topmost folder alone is told.
    gone = [path for path, kind in kinds.items() if kind == "D" and kinds.get(path.rpartition(b"/")[0]) == "D"]
    return _lines({path: kind for path, kind in kinds.items() if path not in set(gone)})


def _lay(store: Store, layer: Descriptor, tree: dict[bytes, _Node], *, read: bool) -> None:
    """Apply a layer to *tree*."""
    from builder.layer.compress import decompressed
    from builder.layer.reader import Reader

    if not store.blobs.has(layer.digest):
        raise ImageError(
            f"the store does not have the layer {layer.digest}", code="missing-blob", hint="pull the image again"
        )
    fresh: dict[bytes, _Node] = {}
    with (
        store.blobs.open(layer.digest) as packed,
        Reader(decompressed(compression_of(layer.media_type), packed)) as tar,
    ):
        for member in tar:
            path = os.path.normpath(b"/" + member.name).lstrip(b"/")
            folder, _, name = path.rpartition(b"/")
            if name == OPAQUE:
                _cut(tree, folder, itself=False)
            elif name.startswith(WHITEOUT):
                _cut(tree, os.path.join(folder, name.removeprefix(WHITEOUT)), itself=True)
            elif path:
                fresh[path] = _node(member, tar, fresh, tree, read)
    for path, node in fresh.items():
        if node.kind != b"5" and path in tree and tree[path].kind == b"5":
            _cut(tree, path, itself=True)
    tree |= fresh


def _cut(tree: dict[bytes, _Node], path: bytes, *, itself: bool) -> None:
    inside = path + b"/" if path else b""
    for other in [other for other in tree if other.startswith(inside)]:
        del tree[other]
    if itself:
        tree.pop(path, None)


def _node(member: Member, tar: Reader, fresh: dict[bytes, _Node], tree: dict[bytes, _Node], read: bool) -> _Node:
    if member.kind == b"1":
        target = os.path.normpath(b"/" + member.link).lstrip(b"/")
        known = fresh.get(target) or tree.get(target)
        if known is not None:
            return known
    content = None
    if read and member.size:
        found = hashlib.sha256()
        for piece in tar.chunks(member.size):
            found.update(piece)
        content = found.digest()
    kind = b"0" if member.kind in (b"\0", b"7") else member.kind
    size = member.whole or member.size
    return _Node(kind, member.mode, member.uid, member.gid, member.mtime, size, member.link, member.rdev, content)


def _lines(kinds: dict[bytes, str]) -> list[Difference]:
    """All that changed, and the folders above it, sorted."""
    whole = dict(kinds)
    for path in kinds:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            whole.setdefault(path, "C")
    return [Difference(kind, "/" + os.fsdecode(path)) for path, kind in _sorted(whole) if path]


def _sorted(kinds: dict[bytes, str]) -> Iterable[tuple[bytes, str]]:
    return sorted(kinds.items(), key=lambda item: item[0].split(b"/"))
