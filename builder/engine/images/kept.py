"""The images of the store, found by name or by the beginning of an id, and given, taken or changed names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from builder.errors import BuilderError, ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, Descriptor, Index, Manifest
from builder.image.matching import select
from builder.image.names import Digest, Platform, Reference
from builder.image.views import ATTESTATION

if TYPE_CHECKING:
    from builder.store.images import StoredImage
    from builder.store.store import Store

_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of the store as one platform sees it.

    top       what its names stand for: a manifest, or an index of several platforms
    chosen    the manifest for the platform
    kept      since when, seconds since the epoch
    manifest, config   None where the store does not have them (another platform's image, or a damaged store)
    """

    top: Descriptor
    chosen: Descriptor
    names: tuple[Reference, ...]
    kept: int
    manifest: Manifest | None
    config: ImageConfig | None

    @property
    def id(self) -> Digest:
        """Docker's image id: the configuration's digest."""
        return self.manifest.config.digest if self.manifest else self.chosen.digest

    @property
    def shown(self) -> str:
        """How people call it: by a name, or by the short id."""
        return self.names[0].familiar if self.names else self.id.hex[:12]

    @property
    def created(self) -> str | None:
        """When it was made, RFC 3339."""
        return self.config.created if self.config else None

    def whole(self) -> tuple[Manifest, ImageConfig]:
        """Manifest and configuration; ImageError ``incomplete-image`` if they are not here."""
        if self.manifest is None or self.config is None:
            raise ImageError(
                f"{self.shown}: the store does not have all of its documents",
                code="incomplete-image",
                hint=f"pull it again: pybuild pull {self.names[0].familiar}"
                if self.names
                else "build or pull it again",
            )
        return self.manifest, self.config


def images(store: Store, platform: Platform) -> tuple[Image, ...]:
    """All images, the latest first, each for *platform* where it has that, else for the first that is here."""
    return tuple(_image(store, stored, platform) for stored in store.images.list())


def find(store: Store, text: str, platform: Platform) -> Image:
    """The image that *text* names: a name, an id or its beginning, ``NAME@DIGEST``.

    raises   ImageError ``no-such-image``, ``ambiguous-id``, ``invalid-reference``
    """
    known = images(store, platform)
    if len(text) < 64 or not _HEX.fullmatch(text):
        found = _named(known, text)
        if found is not None:
            return found
    beginning = _HEX.fullmatch(text)
    if beginning:
        matching = [image for image in known if _has_id(image, beginning[1])]
        if len({image.id for image in matching}) > 1:
            raise ImageError(
                f"several images have an id that begins with {text}",
                code="ambiguous-id",
                hint="give more of its digits",
            )
        if matching:
            return matching[0]
    raise _no_such(text, known)


def of_id(store: Store, image: Image, platform: Platform) -> tuple[Image, ...]:
    """All that is kept under the same id: two manifests can hold one configuration, with layers packed differently."""
    return tuple(other for other in images(store, platform) if other.id == image.id)


def _named(known: Iterable[Image], text: str) -> Image | None:
    try:
        reference = Reference.parse(text)
    except ImageError as e:
        if _HEX.fullmatch(text) or e.code != "invalid-reference":
            return None
        raise
    for image in known:
        if reference.digest is not None:
            same = any((n.registry, n.repository) == (reference.registry, reference.repository) for n in image.names)
            if same and reference.digest in (image.top.digest, image.chosen.digest):
                return image
        elif reference in image.names:
            return image
    return None


def _has_id(image: Image, beginning: str) -> bool:
    return any(d.hex.startswith(beginning) for d in (image.id, image.top.digest, image.chosen.digest))


def _no_such(text: str, known: Iterable[Image]) -> ImageError:
    # Only a mistake needs it.
    from difflib import get_close_matches

    names = [name.familiar for image in known for name in image.names]
    same = [name for name in names if name.rpartition(":")[0] == text.partition(":")[0]]
    near = same[:3] or get_close_matches(text, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = "'pybuild images' lists what is here; pybuild pull gets others" if names else "no image is here yet"
    return ImageError(f"no such image: {text}", code="no-such-image", hint=hint)


def _image(store: Store, stored: StoredImage, platform: Platform) -> Image:
    make = partial(Image, top=stored.descriptor, names=stored.names, kept=stored.kept)
    chosen = stored.descriptor
    try:
        chosen = choose(store, stored.descriptor, platform)
        manifest = Manifest.read(store.blobs.read(chosen.digest), chosen.media_type)
        config = ImageConfig.read(store.blobs.read(manifest.config.digest))
    except BuilderError:
        # Damaged or never fetched: it is listed, and can be removed; whoever needs more is told by ``whole``.
        return make(chosen=chosen, manifest=None, config=None)
    return make(chosen=chosen, manifest=manifest, config=config)


def choose(store: Store, top: Descriptor, platform: Platform) -> Descriptor:
    """The manifest of *top* for *platform*; of an index without it, the first that the store has."""
    if top.media_type not in INDEX_TYPES:
        return top
    index = Index.read(store.blobs.read(top.digest), top.media_type)
    best = select(index, platform)
    if best is not None and store.blobs.has(best.digest):
        return best
    for item in index.manifests:
        if ATTESTATION not in item.annotations and store.blobs.has(item.digest):
            return item
    raise ImageError(f"no image of {top.digest} is in the store", code="missing-blob")


def platforms(store: Store, image: Image) -> tuple[Platform, ...]:
    """The platforms whose images are here."""
    if image.top.media_type not in INDEX_TYPES:
        return (image.config.platform,) if image.config else ()
    try:
        index = Index.read(store.blobs.read(image.top.digest), image.top.media_type)
    except BuilderError:
        return ()
    return tuple(item.platform for item in index.manifests if item.platform and store.blobs.has(item.digest))


# Names


def tag(store: Store, source: str, target: str, platform: Platform) -> None:
    """Let *target* name the image *source*.

    raises   ImageError ``no-such-image``, ``invalid-reference``
    """
    name = Reference.parse(target)
    if name.digest is not None:
        raise ImageError(f"{target}: a digest cannot be given to an image", code="invalid-reference")
    store.images.tag(name, find(store, source, platform).top)


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``rmi`` did: ``kind`` is ``Untagged`` or ``Deleted``, ``what`` a name or a digest."""

    kind: str
    what: str


def remove(
    store: Store, text: str, platform: Platform, *, force: bool, users: Iterable[tuple[str, Digest]]
) -> Iterator[Removed]:
    """Take the name *text* away, and the image itself with its last name; of an id, all names.

    force    also an id with several names, or an image that a container was made of
    users    containers, and the image that each was made of
    raises   ImageError ``no-such-image``, ``image-in-use``
    source   moby, daemon/images/image_delete.go, ImageDelete
    """
    image = find(store, text, platform)
    name = _name_of(image, text)
    if name is not None and len(image.names) > 1:
        store.images.untag(name)
        yield Removed("Untagged", name.familiar)
        return
    same = (image,) if name is not None else of_id(store, image, platform)
    names = [each for other in same for each in other.names]
    if name is None and len(names) > 1 and not force:
        raise ImageError(
            f"{text} has several names: {', '.join(each.familiar for each in names)}",
            code="image-in-use",
            hint="remove the names, or all at once with --force",
        )
    user = next((container for container, of in users if of == image.id), None)
    if user is not None and not force:
        raise ImageError(
            f"{text} is used by the container {user}",
            code="image-in-use",
            hint=f"remove that first: pybuild container rm {user}; or use --force",
        )
    for other in same:
        for each in other.names:
            store.images.untag(each)
            yield Removed("Untagged", each.familiar)
    for other in same:
        if store.images.forget(other.top.digest):
            yield Removed("Deleted", str(other.id))


def _name_of(image: Image, text: str) -> Reference | None:
    """The name that *text* is, if it is one and not an id."""
    try:
        reference = Reference.parse(text)
    except ImageError:
        return None
    return reference if reference in image.names else None
