"""``commit`` and ``import``: images made of what is there instead of what a Dockerfile says."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from builder.engine.behind import behind, identity_of, snapshotter_of
from builder.engine.containers.changing import changed
from builder.engine.containers.run import found
from builder.errors import BuilderError, ImageError, StoreError
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig
from builder.image.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, Manifest
from builder.image.names import Digest, Platform, Reference
from builder.store.containers import Container, Containers
from builder.store.layers import LayerInfo

if TYPE_CHECKING:
    from builder.events import Emit
    from builder.layer.pack import PackedLayer
    from builder.store.store import Store

_NOT_THE_IMAGES = ("Hostname", "Tty", "OpenStdin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is noted in the image: who made it, and what there is to say."""

    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()


def commit(store: Store, text: str, name: Reference | None, note: Note) -> Digest:
    """Make an image of the container *text*: the image that it was made of, and what the command changed.

    returns  the image's id
    raises   StoreError ``no-such-container``, ``missing-blob``; UsageError
    source   moby, daemon/commit.go; daemon/images/image_commit.go
    """
    container = found(Containers(store), text)
    base = Descriptor.read(container.manifest)
    manifest = Manifest.read(store.blobs.read(base.digest), base.media_type)
    config = ImageConfig.read(store.blobs.read(manifest.config.digest))
    run = {key: value for key, value in container.config.items() if key not in _NOT_THE_IMAGES}
    config = changed(replace(config, config=RunConfig.read(run)), note.changes)
    packed = _packed(store, container)
    layers, diff_ids = manifest.layers, config.diff_ids
    empty = True
    if packed.diff_id is not None and packed.blob is not None and packed.entries:
        empty = False
        layers = (*layers, Descriptor(media_type=OCI_LAYER, digest=packed.blob, size=packed.size))
        diff_ids = (*diff_ids, packed.diff_id)
    now = _now()
    entry = HistoryEntry(
        created_by=" ".join(container.argv), created=now, empty_layer=empty, comment=note.message, author=note.author
    )
    config = replace(
        config,
        created=now,
        diff_ids=diff_ids,
        history=(*config.history, entry),
        author=note.author or config.author,
    )
    return keep(store, config, layers, name)


def _packed(store: Store, container: Container) -> LayerInfo:
    """The container's layer, packed now unless it is."""
    info = store.layers.get(container.snapshot)
    if info is not None and info.blob is not None and store.blobs.touch(info.blob):
        return info
    packed, blob = behind(identity_of(container.shelf), lambda _: _pack(store, container))
    return store.layers.update(
        container.snapshot,
        diff_id=packed.diff_id,
        blob=blob,
        media_type=OCI_LAYER,
        size=packed.size,
        entries=packed.entries,
    )


def _pack(store: Store, container: Container) -> tuple[PackedLayer, Digest]:
    from builder.layer.pack import pack

    snapshotter = snapshotter_of(store.root, container.shelf)
    snapshot = snapshotter.get(container.snapshot)
    if snapshot is None:
        raise StoreError(f"the root of {container.name} is gone", code="missing-snapshot")
    with snapshotter.reading(snapshot) as tree, store.blobs.writer() as writer:
        packed = pack(snapshotter.changes(snapshot), tree, writer)
        return packed, writer.commit()


def keep(store: Store, config: ImageConfig, layers: Sequence[Descriptor], name: Reference | None) -> Digest:
    """Write an image's documents and give it its name, or keep it without; its id."""
    data = config.bytes()
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=store.blobs.write(data), size=len(data)),
        layers=tuple(layers),
    )
    document = manifest.bytes()
    descriptor = Descriptor(media_type=OCI_MANIFEST, digest=store.blobs.write(document), size=len(document))
    if name is None:
        store.images.keep(descriptor)
    else:
        store.images.tag(name, descriptor)
    return manifest.config.digest


def import_root(
    store: Store,
    source: str,
    stdin: int,
    name: Reference | None,
    note: Note,
    platform: Platform,
    environment: dict[str, str],
    emit: Emit,
) -> Digest:
    """Make an image of one layer of a root file system's tar, compressed or not; the image's id.

    source   a path, a URL, or ``-`` for *stdin*
    raises   ImageError ``malformed-archive``, ``no-such-file``; ContextError; UsageError
    """
    config = changed(ImageConfig(platform=platform), note.changes)
    with _opened(store, source, stdin, environment) as stream:
        try:
            descriptor = _layer(store, stream)
        except BuilderError as e:
            shown = "the standard input" if source == "-" else source
            raise ImageError(f"{shown} is not a tar: {e.message}", code="malformed-archive", hint=e.hint) from None
    now = _now()
    comment = note.message or f"Imported from {source}"
    config = replace(
        config,
        created=now,
        diff_ids=(descriptor.digest,),
        history=(HistoryEntry(created_by="", created=now, comment=comment),),
    )
    return keep(store, config, (descriptor,), name)


def _opened(store: Store, source: str, stdin: int, environment: dict[str, str]) -> BinaryIO:
    if source == "-":
        return open(stdin, "rb", closefd=False)
    if source.startswith(("http://", "https://")):
        from builder.engine.sources.fetch import fetch
        from builder.engine.world import Settings
        from builder.plan.steps import RemoteFile

        path = fetch(RemoteFile(url=source, name="import"), store.tmp(), Settings(environment=environment)).path()
        return open(path, "rb")
    try:
        return open(Path(source), "rb")
    except OSError as e:
        raise ImageError(f"cannot read {source}: {e.strerror}", code="no-such-file") from None


def _layer(store: Store, stream: BinaryIO) -> Descriptor:
    """The tar as a blob, uncompressed, looked through from its first member to its last."""
    from builder.engine.streams import Tee
    from builder.layer.compress import decompressed, sniff
    from builder.layer.reader import Reader

    head = stream.peek(6)[:6] if isinstance(stream, io.BufferedReader) else b""
    with store.blobs.writer() as writer:
        tee = Tee(decompressed(sniff(head), stream), writer.write, lambda _: None)
        with Reader(cast(BinaryIO, tee)) as tar:
            members = sum(1 for _ in tar)
            tar.finish()
        if not members:
            raise ImageError("it holds nothing", code="malformed-archive")
        size = writer.size
        return Descriptor(media_type=OCI_LAYER, digest=writer.commit(), size=size)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
