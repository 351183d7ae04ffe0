"""Layers in the compression that an output asks for; what was compressed once is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from builder.engine.outputs.assemble import ImageLayer
from builder.image.documents import OCI_LAYER, Descriptor, compression_of
from builder.image.names import Digest

if TYPE_CHECKING:
    from typing import BinaryIO, Self

    from builder.engine.request import Output
    from builder.engine.world import World
    from builder.store.store import Store

_SUFFIXES = {"gzip": "+gzip", "zstd": "+zstd", "uncompressed": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How layers are to be packed.

    kind   gzip, zstd, uncompressed; "": as each is
    force  whether a base's layers, too, are packed anew
    """

    kind: str = ""
    level: int | None = None
    force: bool = False

    @classmethod
    def of(cls, output: Output) -> Self:
        """As *output*'s attributes say; where they say nothing a registry gets gzip, which every client reads."""
        given = output.attributes
        return cls(
            kind=given.get("compression", "gzip" if output.kind == "registry" else ""),
            level=int(given["compression-level"]) if given.get("compression-level") else None,
            force=given.get("force-compression") == "true",
        )


def recompress(layers: tuple[ImageLayer, ...], packing: Packing, world: World) -> tuple[ImageLayer, ...]:
    """*layers* in the compression of *packing*; a base's stay as they came, unless it is forced."""
    if not packing.kind:
        return layers
    return tuple(
        layer if layer.created is None and not packing.force else repacked(layer, packing, world.store)
        for layer in layers
    )


def repacked(layer: ImageLayer, packing: Packing, store: Store) -> ImageLayer:
    """*layer* in the compression of *packing*, its blob in *store*."""
    if compression_of(layer.descriptor.media_type) == packing.kind:
        return layer
    name = Digest.of(f"{packing.kind} {packing.level}".encode())
    known = store.records.find(name, layer.diff_id)
    if known is not None and store.blobs.has(Digest(known["blob"]), int(known["size"])):
        blob, size = Digest(known["blob"]), int(known["size"])
    else:
        blob, size = _compress(layer, packing, store)
        store.records.put(name, layer.diff_id, {"blob": blob, "size": size})
    descriptor = Descriptor(media_type=OCI_LAYER + _SUFFIXES[packing.kind], digest=blob, size=size)
    return ImageLayer(descriptor=descriptor, diff_id=layer.diff_id, created=layer.created)


def _compress(layer: ImageLayer, packing: Packing, store: Store) -> tuple[Digest, int]:
    from builder.layer.compress import compressor, decompressed

    blobs = store.blobs
    with blobs.open(layer.descriptor.digest) as packed, blobs.writer() as writer:
        plain = decompressed(compression_of(layer.descriptor.media_type), packed)
        with compressor(packing.kind, cast("BinaryIO", writer), packing.level) as out:
            while data := plain.read(1 << 20):
                out.write(data)
        blob = writer.commit()
        return blob, writer.size
