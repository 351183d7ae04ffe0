"""Small images, made in a store from nothing but bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyzstd
from isal import igzip

from builder.export.layout import NamedImage
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig
from builder.image.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, Index, Manifest
from builder.image.names import Digest, Platform, Reference
from builder.image.views import ImageFiles
from builder.store import Store

EPOCH = "1970-01-01T00:00:00Z"


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed layer; names that end in "/" are folders, files are executable."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = 0o755
            info.size = len(data)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def compressed(tar: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return igzip.compress(tar, mtime=0)
    return pyzstd.compress(tar) if kind == "zstd" else tar


def image(
    store: Store,
    *layers: Mapping[str, bytes],
    platform: str = "linux/amd64",
    kind: str = "gzip",
    cmd: tuple[str, ...] = ("/hello",),
) -> Descriptor:
    """An image of these layers, in the store; the descriptor of its manifest."""
    tars = [layer_tar(files) for files in layers]
    blobs = [compressed(tar, kind) for tar in tars]
    config = ImageConfig(
        platform=Platform.parse(platform),
        config=RunConfig(cmd=cmd, env=("PATH=/bin",)),
        diff_ids=tuple(Digest.of(tar) for tar in tars),
        history=tuple(HistoryEntry(created_by=f"layer {n}", created=EPOCH) for n, _ in enumerate(tars)),
        created=EPOCH,
    )
    media_type = OCI_LAYER + ("" if kind == "uncompressed" else f"+{kind}")
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=_put(store, OCI_CONFIG, config.bytes()),
        layers=tuple(_put(store, media_type, blob) for blob in blobs),
    )
    return _put(store, OCI_MANIFEST, manifest.bytes(), config.platform)


def index(store: Store, *manifests: Descriptor) -> Descriptor:
    return _put(store, OCI_INDEX, Index(media_type=OCI_INDEX, manifests=manifests).bytes())


def _put(store: Store, media_type: str, data: bytes, platform: Platform | None = None) -> Descriptor:
    return Descriptor(media_type=media_type, digest=store.blobs.write(data), size=len(data), platform=platform)


def named(store: Store, descriptor: Descriptor, *names: str) -> NamedImage:
    files = ImageFiles(descriptor=descriptor, blob=store.blobs.path)
    return NamedImage(files=files, names=tuple(Reference.parse(name) for name in names))


def busybox() -> bytes:
    """A program that runs alone in an image."""
    return Path("/bin/busybox").read_bytes()
