"""Manifests and indexes as such: shown, and indexes made of images of several platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.engine.images import Image, find, images
from builder.engine.publishing import compressed
from builder.errors import ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, OCI_INDEX, Descriptor, Index, Manifest
from builder.image.names import Platform, Reference
from builder.image.views import ImageFiles

if TYPE_CHECKING:
    from builder.events import Emit
    from builder.store.store import Store


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index as it is, and what it describes itself as."""

    descriptor: Descriptor
    data: bytes


def document(store: Store, text: str, platform: Platform, environment: Mapping[str, str]) -> Document:
    """What *text* names: in the store, else in its registry.

    raises   ImageError, RegistryError
    """
    try:
        top = find(store, text, platform).top
        return Document(top, store.blobs.read(top.digest))
    except ImageError as e:
        if e.code != "no-such-image":
            raise
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry

    descriptor, source = Registry(environment).resolve(Reference.parse(text))
    return Document(descriptor, source.read(descriptor))


def create(
    store: Store,
    name: Reference,
    members: Sequence[str],
    platform: Platform,
    environment: Mapping[str, str],
    emit: Emit,
    *,
    amend: bool,
) -> Descriptor:
    """Make an index of the images *members*, pulled where they are not here, and call it *name*.

    amend    add to the index that has the name already, instead of failing
    raises   ImageError ``name-in-use``, ``incomplete-image``; RegistryError
    """
    known = next((image for image in images(store, platform) if name in image.names), None)
    if known is not None and not amend:
        raise ImageError(
            f"{name.familiar} is there already", code="name-in-use", hint="add to it with --amend, or remove it first"
        )
    found: dict[Platform, Descriptor] = {}
    if known is not None:
        found = _platforms(_members(store, known))
    for text in members:
        found |= _platforms(_members(store, _image(store, text, platform, environment, emit)))
    data = Index(media_type=OCI_INDEX, manifests=tuple(found.values())).bytes()
    top = Descriptor(media_type=OCI_INDEX, digest=store.blobs.write(data), size=len(data))
    store.images.tag(name, top)
    return top


def _platforms(members: Sequence[Descriptor]) -> dict[Platform, Descriptor]:
    return {item.platform: item for item in members if item.platform}


def _image(store: Store, text: str, platform: Platform, environment: Mapping[str, str], emit: Emit) -> Image:
    try:
        return find(store, text, platform)
    except ImageError as e:
        if e.code != "no-such-image":
            raise
    from builder.engine.pulling import pull

    pull(store, Reference.parse(text), platform, environment, emit)
    return find(store, text, platform)


def _members(store: Store, image: Image) -> list[Descriptor]:
    """The manifests of *image* that are here, each with its platform."""
    if image.top.media_type not in INDEX_TYPES:
        manifest, config = image.whole()
        return [_member(store, manifest, config)]
    files = ImageFiles(descriptor=image.top, blob=store.blobs.path)
    index = Index.read(files.read(image.top), image.top.media_type)
    found = []
    for item in index.manifests:
        if store.blobs.has(item.digest) and item.platform is not None and item.media_type not in INDEX_TYPES:
            manifest = Manifest.read(files.read(item), item.media_type)
            if store.blobs.has(manifest.config.digest) and all(store.blobs.has(one.digest) for one in manifest.layers):
                found.append(item)
    if not found:
        raise ImageError(f"{image.shown}: no image of it is here as a whole", code="incomplete-image")
    return found


def _member(store: Store, manifest: Manifest, config: ImageConfig) -> Descriptor:
    data = compressed(store, manifest, config).bytes()
    return Descriptor(
        media_type=manifest.media_type, digest=store.blobs.write(data), size=len(data), platform=config.platform
    )
