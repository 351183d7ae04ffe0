"""A solution becomes an image: layers' descriptors, configuration and manifest, written to the store as blobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine.outputs.packed import find_packed
from builder.errors import InternalError
from builder.image.configuration import HistoryEntry, ImageConfig
from builder.image.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest
from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.engine.position import Position
    from builder.engine.world import World
    from builder.plan.steps import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """One layer of a finished image. ``created`` is RFC 3339, or None for a base's."""

    descriptor: Descriptor
    diff_id: Digest
    created: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A finished image of one platform, all of whose documents are in the store."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig


def layers_of(position: Position, world: World, clamp: int | None = None) -> tuple[ImageLayer, ...]:
    """The layers where a stage ended; the base's under the types and digests that it came with.

    clamp   no time in the others is later than this, seconds since the epoch; None: as the files are
    """
    layers = []
    if position.base is not None:
        for descriptor, diff_id, _ in world.bases.find(position.base).layers:
            kept = Descriptor(
                media_type=oci_type(descriptor.media_type), digest=descriptor.digest, size=descriptor.size
            )
            layers.append(ImageLayer(descriptor=kept, diff_id=diff_id, created=None))
    for snapshot in position.made:
        packed = find_packed(world.store, snapshot, clamp)
        if packed is None:
            raise InternalError(f"the layer of {snapshot} was not packed", code="layer-not-packed")
        layers.append(ImageLayer(descriptor=packed.descriptor, diff_id=packed.diff_id, created=packed.created))
    return tuple(layers)


def oci_type(media_type: str) -> str:
    """A layer's type as an OCI manifest names it: Docker's types mean the same bytes."""
    if media_type.startswith("application/vnd.docker."):
        suffix = media_type.rpartition("tar.")[2] if "tar." in media_type else ""
        return OCI_LAYER + (f"+{suffix}" if suffix else "")
    return media_type


def assemble(
    plan: Plan,
    layers: tuple[ImageLayer, ...],
    world: World,
    *,
    annotations: Mapping[str, str],
    epoch: int | None,
) -> Assembled:
    """Write the image's configuration and manifest.

    The moment of creation is that of the first build that gave this very image, so that a build which changes nothing
    gives the same digest; ``epoch``, if given, replaces it.
    """
    config = replace(plan.target.config, diff_ids=tuple(layer.diff_id for layer in layers))
    created = _rfc3339(epoch) if epoch is not None else _first_built(config, world)
    config = replace(config, created=created, history=_dated(plan, config, layers, created, epoch))
    data = config.bytes()
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=world.store.blobs.write(data), size=len(data)),
        layers=tuple(layer.descriptor for layer in layers),
        annotations=annotations,
    )
    document = manifest.bytes()
    descriptor = Descriptor(
        media_type=OCI_MANIFEST,
        digest=world.store.blobs.write(document),
        size=len(document),
        platform=config.platform,
    )
    return Assembled(descriptor=descriptor, manifest=manifest, config=config)


def _first_built(config: ImageConfig, world: World) -> str:
    # Diff ids, not blobs: however its layers are compressed, it is the same image, with the same id.
    image = Digest.of(replace(config, created=None).bytes())
    record = world.store.records.find(image, image)
    if record is not None and isinstance(record.get("created"), str):
        return str(record["created"])
    import datetime  # slow to import, and an image that was built before has its date

    now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    world.store.records.put(image, image, {"created": now})
    return now


def _dated(
    plan: Plan, config: ImageConfig, layers: tuple[ImageLayer, ...], created: str, epoch: int | None
) -> tuple[HistoryEntry, ...]:
    """The history with the dates that it lacks: a layer's own, or the image's for what made no layer."""
    entries = list(plan.target.config.history)
    own = [layer for layer in layers if layer.created is not None]
    made = iter(own)
    base_layers = len(layers) - len(own)
    seen = 0
    for n, entry in enumerate(entries):
        if not entry.empty_layer:
            seen += 1
            layer = next(made, None) if seen > base_layers else None
            if layer is not None and entry.created is None:
                entries[n] = replace(entry, created=created if epoch is not None else layer.created)
                continue
        if entry.created is None:
            entries[n] = replace(entry, created=created)
    return tuple(entries)


def _rfc3339(epoch: int) -> str:
    import datetime  # only for images with a date of their own

    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).isoformat().replace("+00:00", "Z")
