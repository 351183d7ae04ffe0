"""An image as those see it who read its documents: what hangs on what, wherever the bytes are.

``read`` is given by the caller and gives a document's bytes, verified: the store's, a layout's or a registry's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuilderError, ImageError
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Index, Manifest, read_json
from builder.image.names import Digest

Read = Callable[[Descriptor], bytes]
"""Gives the bytes of a document."""

MOST_DOCUMENTS = 10_000
"""Manifests and indexes that may hang on one descriptor; far above any that is real."""

MOST_DEPTH = 8
"""Indexes in indexes."""

DOCUMENT_LIMIT = 16 << 20
"""Bytes of a manifest, index or configuration; far above any that is real."""

ATTESTATION = "vnd.docker.reference.type"
"""Annotation of a manifest in an index that is no image but speaks of one. source: BuildKit, attestation-storage.md"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """An image all of whose blobs are files.

    descriptor  of its manifest or index
    blob        gives the path of each blob that hangs on it
    """

    descriptor: Descriptor
    blob: Callable[[Digest], Path]

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a document; ImageError if they are not what *descriptor* says."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise ImageError(
                f"{descriptor.digest} has {descriptor.size} bytes, more than {DOCUMENT_LIMIT}",
                code="document-too-large",
            )
        path = self.blob(descriptor.digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ImageError(f"{descriptor.digest} is not at {path}", code="missing-blob") from None
        verify(descriptor, data)
        return data

    def contents(self) -> tuple[Descriptor, ...]:
        """Every blob of the image once: documents after what they name, the descriptor itself last."""
        return contents(self.descriptor, self.read)

    def manifests(self) -> tuple[tuple[Descriptor, Manifest], ...]:
        """The manifests of the image, without those that only speak of another (attestations), in their order."""
        return manifests(self.descriptor, self.read)


def verify(descriptor: Descriptor, data: bytes) -> None:
    """ImageError ``size-mismatch``, ``digest-mismatch`` unless *data* is what *descriptor* says."""
    if len(data) != descriptor.size:
        raise ImageError(f"{descriptor.digest} has {len(data)} bytes, not {descriptor.size}", code="size-mismatch")
    if not descriptor.digest.matches(data):
        raise ImageError(f"the content of {descriptor.digest} is another", code="digest-mismatch")


def contents(root: Descriptor, read: Read, *, lenient: bool = False) -> tuple[Descriptor, ...]:
    """Every blob that hangs on *root* once, children before what names them, *root* last.

    A writer that keeps this order never holds a document without what it names.

    lenient  a document that cannot be read is taken as one that names nothing
    raises   ImageError ``not-an-image`` if *root* is neither manifest nor index; ``invalid-document`` for endless ones
    """
    found: dict[Digest, Descriptor] = {}
    for descriptor in _below(root, read, lenient, depth=0, seen=set()):
        found.setdefault(descriptor.digest, descriptor)
    return tuple(found.values())


def _below(descriptor: Descriptor, read: Read, lenient: bool, depth: int, seen: set[Digest]) -> Iterator[Descriptor]:
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    if len(seen) > MOST_DOCUMENTS or depth > MOST_DEPTH:
        raise ImageError("more manifests hang on the image than any has", code="invalid-document")
    try:
        named = _named(descriptor, read)
    except BuilderError:
        if not lenient:
            raise
        named = ()
    for item in named:
        # An index may name what is no image (image-index.md, "manifests": unknown media types are to be ignored,
        # not refused); such a blob is carried along as it is, like a layer.
        if item.media_type in INDEX_TYPES or item.media_type in MANIFEST_TYPES:
            yield from _below(item, read, lenient, depth + 1, seen)
        else:
            yield item
    yield descriptor


def _named(descriptor: Descriptor, read: Read) -> tuple[Descriptor, ...]:
    if descriptor.media_type in INDEX_TYPES:
        return Index.read(read(descriptor), descriptor.media_type).manifests
    if descriptor.media_type in MANIFEST_TYPES:
        manifest = Manifest.read(read(descriptor), descriptor.media_type)
        return (manifest.config, *manifest.layers)
    raise not_an_image(descriptor)


def manifests(root: Descriptor, read: Read) -> tuple[tuple[Descriptor, Manifest], ...]:
    """The manifests of images that *root* is or names, in order; attestations left out."""
    if root.media_type in MANIFEST_TYPES:
        return ((root, Manifest.read(read(root), root.media_type)),)
    if root.media_type not in INDEX_TYPES:
        raise not_an_image(root)
    found = []
    for item in Index.read(read(root), root.media_type).manifests:
        if item.media_type in MANIFEST_TYPES and ATTESTATION not in item.annotations:
            found.append((item, Manifest.read(read(item), item.media_type)))
    return tuple(found)


def not_an_image(descriptor: Descriptor) -> ImageError:
    """The error for what is neither manifest nor index."""
    return ImageError(f"{descriptor.digest} is no image but {descriptor.media_type}", code="not-an-image")


def read_root(data: bytes) -> tuple[Descriptor, ...]:
    """The descriptors of a layout's index.json, which may leave its own media type out."""
    value = read_json(data, "index.json")
    if value.get("schemaVersion") != 2:
        raise ImageError("index.json is not of schema version 2", code="invalid-document")
    return Index.read(data).manifests
