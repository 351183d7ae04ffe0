"""Images that a build begins with or copies from: found in a named context, in the store, or in a registry.

A base is known (its configuration, for the plan) long before it is fetched: layers are downloaded only when a step must
be performed on them or an output must hold them, and are then unpacked while they arrive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from builder.engine.damage import blamed
from builder.engine.places import remember_places
from builder.engine.streams import Remembered, Source, Tee, Unpacking
from builder.errors import ImageError
from builder.events import Emit, Progress
from builder.image.configuration import ImageConfig, chain_id
from builder.image.documents import INDEX_TYPES, Descriptor, Index, Manifest, compression_of
from builder.image.matching import select
from builder.image.names import Digest, Reference
from builder.image.views import DOCUMENT_LIMIT
from builder.plan.steps import Base, BaseKey

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from builder.registry.client import Registry
    from builder.snapshot.contract import Packed
    from builder.store.store import Store

MOST_DOWNLOADS = 4
"""Layers downloaded at once; Docker takes three, and a registry's limits begin not far above."""


@dataclass(frozen=True, slots=True)
class Found:
    """An image, and where its blobs are."""

    base: Base
    manifest: Manifest
    source: Source

    @property
    def layers(self) -> tuple[tuple[Descriptor, Digest, Digest], ...]:
        """Each layer's descriptor, diff id and chain id, lowest first."""
        ids = self.base.config.diff_ids
        return tuple(
            (layer, diff_id, chain_id(ids[: n + 1]))
            for n, (layer, diff_id) in enumerate(zip(self.manifest.layers, ids, strict=True))
        )


class Bases:
    """All images of one build, each looked for once.

    contexts  ``--build-context`` names to what was written
    registry  makes the registry client, called when one is first talked to
    pull      whether a registry is asked even for what the store has a name for
    """

    def __init__(
        self,
        store: Store,
        contexts: Mapping[str, str],
        registry: Callable[[], Registry],
        *,
        pull: bool,
        emit: Emit,
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._make_registry = registry
        self._registry: Registry | None = None
        self._pull = pull
        self._emit = emit
        self._found: dict[BaseKey, Found] = {}
        self._lock = threading.Lock()

    def use(self, emit: Emit) -> None:
        """Tell progress to *emit* from now on: behind the gate, messages go another way."""
        self._emit = emit

    def answer(self, key: BaseKey) -> Base:
        """What the plan wants to know of *key*."""
        written = self._contexts.get(key.name.lower(), "")
        if is_folder(written):
            return Base(key=key, config=ImageConfig(platform=key.platform), pinned=key.name, is_folder=True)
        if written == "docker-image://scratch":
            return Base(key=key, config=ImageConfig(platform=key.platform), pinned=key.name, is_empty=True)
        return self.find(key).base

    def find(self, key: BaseKey) -> Found:
        """The image of *key*: ImageError if there is none, RegistryError if it cannot be asked for."""
        with self._lock:
            if key not in self._found:
                self._found[key] = self._look(key)
            return self._found[key]

    def snapshots(self, key: BaseKey) -> tuple[str, ...]:
        """The ids that the image's layers have as snapshots, whether they are unpacked or not."""
        return tuple(f"base-{chain.hex}" for _, _, chain in self.find(key).layers)

    def packed(self, key: BaseKey) -> Sequence[Packed]:
        """The image's layers, to be unpacked; what is not in the store yet gets there while it is read."""
        from builder.snapshot.contract import Packed

        found = self.find(key)
        packed = []
        for layer, diff_id, chain in found.layers:
            unpacking = Unpacking(key.name, layer, partial(self._open, found, layer), self._emit)
            kind = compression_of(layer.media_type)
            packed.append(
                Packed(chain=chain, diff_id=diff_id, compression=kind, open=unpacking.open, report=unpacking.report)
            )
        return packed

    def blamed(self, key: BaseKey) -> AbstractContextManager[None]:
        """What fails in the block because a layer in the store is damaged is told so: ``damage.blamed``."""
        return blamed(self._store, self.find(key).manifest.layers, "build again: it is fetched anew")

    def fetch(self, key: BaseKey) -> None:
        """See to it that the store holds all of the image's layers."""
        found = self.find(key)
        missing = [layer for layer in found.manifest.layers if not self._store.blobs.has(layer.digest, layer.size)]
        if not missing:
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(MOST_DOWNLOADS, thread_name_prefix="fetch") as pool:
            for done in [pool.submit(self._fetch, found, layer) for layer in missing]:
                done.result()

    def _fetch(self, found: Found, layer: Descriptor) -> None:
        with self._open(found, layer) as stream:
            while stream.read(1 << 20):
                pass

    def _look(self, key: BaseKey) -> Found:
        written = self._contexts.get(key.name.lower())
        if written is None:
            return self._by_reference(key, Reference.parse(key.name))
        if written.startswith("docker-image://"):
            return self._by_reference(key, Reference.parse(written.removeprefix("docker-image://")))
        if written.startswith("oci-layout://"):
            return self._in_layout(key, written.removeprefix("oci-layout://"))
        raise ImageError(f"the build context {key.name} is not an image: {written}", code="not-an-image")

    def _in_layout(self, key: BaseKey, written: str) -> Found:
        from builder.store.layouts import OciLayout

        path, name = split_layout(written)
        layout = OciLayout(path)
        descriptor = layout.resolve(name)
        return self._of(key, descriptor, layout, f"{key.name}@{descriptor.digest}")

    def _by_reference(self, key: BaseKey, reference: Reference) -> Found:
        if not self._pull:
            descriptor = self._store.images.resolve(reference)
            if descriptor is not None:
                try:
                    source = Remembered(self._store, partial(self._repository, reference))
                    return self._of(key, descriptor, source, f"{reference}@{descriptor.digest}")
                except ImageError:
                    # The store has the name for another platform, or not the whole image: the registry has both.
                    pass
        descriptor, repository = self._asked().resolve(reference)
        found = self._of(key, descriptor, repository, f"{reference.at(descriptor.digest)}")
        self._store.images.tag(reference, descriptor)
        remember_places(self._store, reference, found.manifest.layers)
        return found

    def _asked(self) -> Registry:
        if self._registry is None:
            self._registry = self._make_registry()
        return self._registry

    def _repository(self, reference: Reference) -> Source:
        # HTTP is for those alone who talk to a registry.
        from builder.registry.client import Repository

        return Repository(self._asked(), reference)

    def _of(self, key: BaseKey, descriptor: Descriptor, source: Source, pinned: str) -> Found:
        if descriptor.media_type in INDEX_TYPES:
            index = Index.read(self._document(source, descriptor), descriptor.media_type)
            chosen = select(index, key.platform)
            if chosen is None:
                there = ", ".join(str(item.platform) for item in index.manifests if item.platform)
                raise ImageError(
                    f"{key.name} has no image for {key.platform}",
                    code="no-such-platform",
                    hint=f"it has: {there}" if there else None,
                )
            descriptor = chosen
        manifest = Manifest.read(self._document(source, descriptor), descriptor.media_type)
        config = ImageConfig.read(self._document(source, manifest.config))
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageError(
                f"{key.name}: {len(manifest.layers)} layers, but {len(config.diff_ids)} diff ids",
                code="invalid-document",
            )
        return Found(Base(key=key, config=config, pinned=pinned), manifest, source)

    def _document(self, source: Source, descriptor: Descriptor) -> bytes:
        if self._store.blobs.has(descriptor.digest, descriptor.size):
            return self._store.blobs.read(descriptor.digest, DOCUMENT_LIMIT)
        data = source.read(descriptor)
        self._store.blobs.write(data)
        return data

    @contextmanager
    def _open(self, found: Found, layer: Descriptor) -> Iterator[BinaryIO]:
        if self._store.blobs.has(layer.digest, layer.size):
            with self._store.blobs.open(layer.digest) as stream:
                yield stream
            return
        label = f"{found.base.key.name} {layer.digest.hex[:12]}"
        with found.source.open(layer) as stream, self._store.blobs.writer(layer.digest, layer.size) as writer:
            tee = Tee(stream, writer.write, lambda done: self._tell(label, layer, done))
            yield cast(BinaryIO, tee)
            while tee.read(1 << 20):  # what follows the archive's end belongs to the blob too
                pass
            writer.commit()
        self._tell(label, layer, layer.size, finished=True)

    def _tell(self, label: str, layer: Descriptor, done: int, *, finished: bool = False) -> None:
        self._emit(Progress(f"pull {layer.digest}", "pull", label, done, layer.size, finished))


def is_folder(written: str) -> bool:
    """Whether a ``--build-context`` value means files and not an image: a folder, or what a URL leads to."""
    if "://" in written:
        return written.startswith(("http://", "https://", "git://", "ssh://"))
    return bool(written) and not written.startswith("target:")


def split_layout(written: str) -> tuple[Path, str | None]:
    """``DIR[:tag|@digest]`` of an oci-layout context as folder and name."""
    path, at, digest = written.partition("@")
    if at:
        return Path(path), digest
    head, colon, tag = written.rpartition(":")
    if colon and "/" not in tag and not Path(written).exists():
        return Path(head), tag
    return Path(written), None
