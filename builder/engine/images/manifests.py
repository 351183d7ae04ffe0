"""Manifests and indexes as such: shown, and indexes made of images of several platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine.images.kept import Image, find, images
from builder.engine.images.publishing import compressed
from builder.errors import ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, OCI_INDEX, Descriptor, Index, Manifest
from builder.image.names import Digest, Platform, Reference
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
    # By digest, as Docker's: two may be of one platform until one of them is annotated.
    found: dict[Digest, Descriptor] = {}
    if known is not None:
        found = {item.digest: item for item in _members(store, known)}
    for text in members:
        found |= {item.digest: item for item in _members(store, _image(store, text, platform, environment, emit))}
    return _keep(store, name, Index(media_type=OCI_INDEX, manifests=tuple(found.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What is to be said of an image's platform; "" and () leave it as it is."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


def annotate(store: Store, name: Reference, member: str, platform: Platform, annotation: Annotation) -> Descriptor:
    """Say of the image *member* of the index *name* what platform it is for.

    member   a name, an id, or the digest of its manifest
    raises   ImageError ``no-such-image``, ``not-an-index``, ``not-a-member``
    source   docker/cli, cli/command/manifest/annotate.go
    """
    index = _index(store, name, platform)
    wanted = _digests(store, member, platform)
    if not any(item.digest in wanted for item in index.manifests):
        raise ImageError(
            f"{name.familiar} has no image {member}",
            code="not-a-member",
            hint=f"it has: {', '.join(str(item.digest) for item in index.manifests)}",
        )
    changed = tuple(_annotated(item, annotation) if item.digest in wanted else item for item in index.manifests)
    return _keep(store, name, replace(index, manifests=changed))


def forget(store: Store, name: Reference, platform: Platform) -> None:
    """Take the name from the index *name*, and keep the index no longer if it was the last.

    raises   ImageError ``no-such-image``, ``not-an-index``
    """
    _index(store, name, platform)
    digest = store.images.untag(name)
    if digest is not None:
        _forget_unnamed(store, digest)


def _index(store: Store, name: Reference, platform: Platform) -> Index:
    image = find(store, str(name), platform)
    if image.top.media_type not in INDEX_TYPES:
        raise ImageError(
            f"{name.familiar} is an image of one platform, and no list of them",
            code="not-an-index",
            hint="make one: pybuild manifest create NAME IMAGE...",
        )
    return Index.read(store.blobs.read(image.top.digest), image.top.media_type)


def _digests(store: Store, text: str, platform: Platform) -> frozenset[Digest]:
    """The digests of manifests that *text* means."""
    try:
        return frozenset({Digest.parse(text.rpartition("@")[2])})
    except ImageError:
        return frozenset(item.digest for item in _members(store, find(store, text, platform)))


def _annotated(item: Descriptor, annotation: Annotation) -> Descriptor:
    old = item.platform or Platform("", "")
    platform = Platform.normalised(
        annotation.os or old.os,
        annotation.architecture or old.architecture,
        # a variant is one of an architecture
        annotation.variant or (old.variant if annotation.architecture in ("", old.architecture) else ""),
    )
    more = dict(item.extra.get("platform") or {})
    if annotation.os_version:
        more["os.version"] = annotation.os_version
    if annotation.os_features:
        more["os.features"] = list(annotation.os_features)
    return replace(item, platform=platform, extra={**item.extra, **({"platform": more} if more else {})})


def _keep(store: Store, name: Reference, index: Index) -> Descriptor:
    data = index.bytes()
    top = Descriptor(media_type=index.media_type, digest=store.blobs.write(data), size=len(data))
    old = store.images.resolve(name)
    store.images.tag(name, top)
    # What had the name before was a step on the way, and is not to be found among the images without one.
    if old is not None and old.digest != top.digest and old.media_type in INDEX_TYPES:
        _forget_unnamed(store, old.digest)
    return top


def _forget_unnamed(store: Store, digest: Digest) -> None:
    if not any(one.names for one in store.images.list() if one.descriptor.digest == digest):
        store.images.forget(digest)


def _image(store: Store, text: str, platform: Platform, environment: Mapping[str, str], emit: Emit) -> Image:
    try:
        return find(store, text, platform)
    except ImageError as e:
        if e.code != "no-such-image":
            raise
    from builder.engine.images.pulling import pull

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
