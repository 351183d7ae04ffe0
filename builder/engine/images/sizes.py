"""How big layers are once unpacked: Docker's SIZE, the bytes of all files in them.

Found by reading a layer's headers once, and remembered by its diff id. What the store has not (layers of a base on
which nothing was performed) counts as big as it is compressed.

source   moby, daemon/graphdriver/overlay2, ApplyDiff; pkg/directory, Size: files once, symbolic links by what they say
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.errors import BuilderError
from builder.image.documents import Descriptor, compression_of
from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.engine.images.kept import Image
    from builder.layer.members import Member
    from builder.store.store import Store

_MEMORY = "layer sizes"


class Sizes:
    """Sizes of layers; ``keep`` remembers those that were found out."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, int] = store.memory(_MEMORY)
        self._found = False

    def layers(self, image: Image) -> tuple[int, ...]:
        """Each layer's bytes, lowest first."""
        if image.manifest is None or image.config is None:
            return ()
        ids: Sequence[Digest | None] = image.config.diff_ids
        if len(ids) != len(image.manifest.layers):
            ids = [None] * len(image.manifest.layers)
        return tuple(self._layer(layer, diff_id) for layer, diff_id in zip(image.manifest.layers, ids, strict=True))

    def of(self, image: Image) -> int:
        """The image's bytes."""
        return sum(self.layers(image))

    def keep(self) -> None:
        """Remember what was found out."""
        if self._found:
            # Another process may have found others meanwhile; what is lost so is found again.
            self._store.remember(_MEMORY, self._store.memory(_MEMORY) | self._known)
            self._found = False

    def _layer(self, layer: Descriptor, diff_id: Digest | None) -> int:
        if diff_id is None:
            return layer.size
        if diff_id not in self._known:
            try:
                self._known[str(diff_id)] = _measure(self._store, layer)
                self._found = True
            except BuilderError:
                return layer.size  # not here, or not a tar: the best that can be said
        return self._known[diff_id]


def _measure(store: Store, layer: Descriptor) -> int:
    # Only the first listing after a build or pull reads layers.
    from builder.layer.compress import decompressed
    from builder.layer.reader import Reader

    with (
        store.blobs.open(layer.digest) as packed,
        Reader(decompressed(compression_of(layer.media_type), packed)) as tar,
    ):
        return sum(_size(member) for member in tar)


def _size(member: Member) -> int:
    if member.kind in (b"0", b"\0", b"7"):
        return member.whole or member.size
    return len(member.link) if member.kind == b"2" else 0


def shared(sizes: Mapping[Digest, Sequence[tuple[Digest, int]]]) -> dict[Digest, int]:
    """Of each image's layers (diff id and bytes), the bytes of those that another image has as well."""
    users: dict[Digest, int] = {}
    for layers in sizes.values():
        for diff_id in {diff_id for diff_id, _ in layers}:
            users[diff_id] = users.get(diff_id, 0) + 1
    return {name: sum(size for diff_id, size in layers if users[diff_id] > 1) for name, layers in sizes.items()}
