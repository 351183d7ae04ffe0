"""``push``: an image of the store to a registry.

Layers that were never compressed are compressed first, since every registry's users expect gzip; the image then is kept
as it was pushed, under the same names, so that the digest shown is the registry's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine.damage import blamed
from builder.engine.images.kept import Image, find
from builder.engine.images.saving import hold_layers
from builder.engine.outputs.assemble import ImageLayer
from builder.engine.outputs.recompress import Packing, repacked
from builder.engine.places import blobs_of, places, remember_places
from builder.errors import BuilderError, ImageError
from builder.events import Emit, Progress
from builder.image.configuration import ImageConfig
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Manifest, compression_of
from builder.image.names import Platform, Reference
from builder.image.views import ImageFiles

if TYPE_CHECKING:
    from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What the name stands for in the registry now, and what was pushed with it that speaks of it."""

    name: Reference
    descriptor: Descriptor
    referrers: tuple[Descriptor, ...] = ()


def push(
    store: Store,
    text: str,
    platform: Platform,
    environment: Mapping[str, str],
    emit: Emit,
    *,
    all_platforms: bool,
    referrers: bool = False,
) -> Pushed:
    """Push what is called *text* here.

    all_platforms  an index is pushed as it is, if all of it is here; else the image of *platform* alone
    referrers      with what speaks of it in the repositories that it was pulled from
    raises         ImageError ``no-such-image``, ``incomplete-image``; RegistryError
    """
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry
    from builder.registry.push import push as send

    reference = Reference.parse(text)
    image = find(store, text, platform)
    if reference not in image.names:
        raise ImageError(
            f"{text} is no name of an image", code="no-such-image", hint="give it one first: pybuild tag SOURCE NAME"
        )
    with ExitStack() as holds:
        hold_layers(store, image, holds)
        descriptor = _prepared(store, image, all_platforms=all_platforms)

        def report(blob: Descriptor, done: int, finished: bool, how: str) -> None:
            emit(Progress(f"push {blob.digest}", "push", blob.digest.hex[:12], done, blob.size, finished, how))

        registry = Registry(environment)
        spoken: list[Descriptor] = []
        if referrers:
            from builder.engine.images.referring import bring_referrers

            spoken = bring_referrers(store, registry, descriptor, emit)
        known = places(store)
        for item, name in ((descriptor, reference), *((one, reference.at(one.digest)) for one in spoken)):
            blobs = blobs_of(store, item)
            with blamed(store, blobs, "pull or build the image again"):
                send(
                    registry,
                    name,
                    item,
                    store.blobs.path,
                    report=report,
                    mount_from=lambda digest: known.get(digest, ()),
                )
            remember_places(store, reference, [item, *blobs])
    return Pushed(name=reference, descriptor=descriptor, referrers=tuple(spoken))


def _prepared(store: Store, image: Image, *, all_platforms: bool) -> Descriptor:
    if image.top.media_type in INDEX_TYPES:
        if all_platforms and _is_whole(store, image.top):
            return image.top
        return replace(image.chosen, platform=None, annotations={})
    manifest, config = image.whole()
    packed = compressed(store, manifest, config)
    if packed == manifest:
        return image.top
    data = packed.bytes()
    made = Descriptor(media_type=image.top.media_type, digest=store.blobs.write(data), size=len(data))
    for name in image.names:
        store.images.tag(name, made)
    store.images.forget(image.top.digest)
    return made


def compressed(store: Store, manifest: Manifest, config: ImageConfig) -> Manifest:
    """*manifest* with those layers compressed that are not."""
    layers = tuple(
        repacked(ImageLayer(descriptor=layer, diff_id=diff_id, created=None), Packing(kind="gzip"), store).descriptor
        if compression_of(layer.media_type) == "uncompressed"
        else layer
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
    return replace(manifest, layers=layers)


def _is_whole(store: Store, top: Descriptor) -> bool:
    """Whether all that hangs on *top* is here."""
    files = ImageFiles(descriptor=top, blob=store.blobs.path)
    try:
        return all(store.blobs.has(item.digest) for item in files.contents() if item.media_type not in MANIFEST_TYPES)
    except BuilderError:
        return False
