"""An image from a registry into the store: all its documents, and all layers of one platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.engine.damage import is_damaged
from builder.engine.images.saving import check
from builder.engine.places import remember_places
from builder.engine.streams import Source
from builder.errors import ImageError
from builder.events import Emit, Progress
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, Descriptor, Index, Manifest
from builder.image.matching import select
from builder.image.names import Digest, Platform, Reference
from builder.image.views import DOCUMENT_LIMIT

if TYPE_CHECKING:
    from builder.registry.client import Registry
    from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull brought.

    top    what the name stands for;  chosen  the manifest of the platform
    fresh  whether the name meant something else before, or a layer was missing
    """

    top: Descriptor
    chosen: Descriptor
    id: Digest
    fresh: bool


def pull(
    store: Store,
    reference: Reference,
    platform: Platform,
    environment: Mapping[str, str],
    emit: Emit,
    *,
    strict: bool = False,
    registry: Registry | None = None,
) -> Pulled:
    """Get the image that *reference* names in its registry, and give it that name here.

    strict    whether an image of one platform alone must be *platform*'s
    registry  one that was talked to already
    raises   RegistryError; ImageError ``no-such-platform``, ``invalid-image``, ``unsupported-media-type``
    """
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry
    from builder.registry.pull import fetch_blobs

    top, source = (registry or Registry(environment)).resolve(reference)
    chosen = _choose(store, source, reference, top, platform)
    manifest = Manifest.read(_document(store, source, chosen), chosen.media_type)
    config = ImageConfig.read(_document(store, source, manifest.config))
    if strict and config.platform != platform:
        raise ImageError(f"{reference.familiar} is for {config.platform}, not for {platform}", code="no-such-platform")
    check(store, manifest)
    layers = {layer.digest: layer for layer in manifest.layers}
    missing = [layer for layer in layers.values() if not _is_here(store, layer)]
    known = store.images.resolve(reference)
    fetch_blobs(
        source,
        missing,
        store.blobs,
        report=lambda layer, done, finished: emit(
            Progress(f"pull {layer.digest}", "pull", layer.digest.hex[:12], done, layer.size, finished)
        ),
    )
    remember_places(store, reference, [top, chosen, manifest.config, *manifest.layers])
    store.images.tag(reference, Descriptor(media_type=top.media_type, digest=top.digest, size=top.size))
    fresh = bool(missing) or known is None or known.digest != top.digest
    return Pulled(top=top, chosen=chosen, id=manifest.config.digest, fresh=fresh)


def _choose(store: Store, source: Source, reference: Reference, top: Descriptor, platform: Platform) -> Descriptor:
    if top.media_type not in INDEX_TYPES:
        return top
    index = Index.read(_document(store, source, top), top.media_type)
    chosen = select(index, platform)
    if chosen is None:
        there = ", ".join(str(item.platform) for item in index.manifests if item.platform)
        raise ImageError(
            f"{reference.familiar} has no image for {platform}",
            code="no-such-platform",
            hint=f"it has: {there}" if there else None,
        )
    return chosen


def _is_here(store: Store, layer: Descriptor) -> bool:
    """Whether the store has the layer; one that is too short or too long is removed, for it is damaged."""
    if not store.blobs.touch(layer.digest):
        return False
    if store.blobs.size(layer.digest) != layer.size:
        store.blobs.delete(layer.digest)
        return False
    return True


def _document(store: Store, source: Source, descriptor: Descriptor) -> bytes:
    if store.blobs.touch(descriptor.digest):
        if not is_damaged(store, descriptor):
            return store.blobs.read(descriptor.digest, DOCUMENT_LIMIT)
        store.blobs.delete(descriptor.digest)
    data = source.read(descriptor)
    store.blobs.write(data)
    return data
