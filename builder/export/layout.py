"""Images as an OCI image layout, in a folder or a tar.

    oci-layout              {"imageLayoutVersion":"1.0.0"}
    index.json              a descriptor for each name of each image
    blobs/sha256/<hex>      manifests, configurations, layers

source   OCI image-spec, image-layout.md; the annotations as BuildKit and containerd write them
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.errors import ImageError
from builder.export.destination import copy_file, explaining, removed_on_failure, write_all, writing
from builder.export.tarball import Tarball
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, Descriptor, Index, canonical
from builder.image.names import Digest, Reference
from builder.image.views import ImageFiles, read_root

LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"

_NAMING = (*INDEX_TYPES, *MANIFEST_TYPES)

Report = Callable[[int], None]
"""Receives the number of bytes written since it was last called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """An image, what it is called, and what its descriptors in index.json say of it besides."""

    files: ImageFiles
    names: tuple[Reference, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def nothing(count: int) -> None:
    """Report to nobody."""


def write_layout(images: Sequence[NamedImage], dest: str | Path, *, report: Report = nothing) -> int:
    """Write a tar that is an OCI layout; its size in bytes. ``-`` is stdout.

    raises   ImageError if a blob is not what its descriptor says; HostError if *dest* cannot be written
    """
    with writing(dest) as fd:
        tar = Tarball(fd)
        put_layout(tar, images, report)
        tar.finish()
    return tar.size


def put_layout(tar: Tarball, images: Sequence[NamedImage], report: Report) -> None:
    """The members of a layout: the small files that say what this is, indexes and manifests, all other blobs.

    So whoever reads a stream knows of each blob what it is before it comes.
    """
    tar.add("oci-layout", LAYOUT, mode=0o444)
    tar.add("index.json", index_of(images).bytes())
    blobs = _blobs(images)
    tar.folder("blobs/")
    for algorithm in sorted({digest.algorithm for digest in blobs}):
        tar.folder(f"blobs/{algorithm}/")
    first = [item for item in reversed(blobs.values()) if item[0].media_type in _NAMING]
    for descriptor, source in first + [item for item in blobs.values() if item[0].media_type not in _NAMING]:
        tar.add_file(blob_name(descriptor.digest), source, descriptor.size)
        report(descriptor.size)


def blob_name(digest: Digest) -> str:
    """Where a layout holds a blob. image-layout.md, "Blobs"."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def write_layout_folder(images: Sequence[NamedImage], dest: str | Path, *, report: Report = nothing) -> int:
    """Add images to the layout in the folder *dest*, made if it is not there; the bytes of blobs that were added.

    Names that it has for other images are taken over; all else in it stays. index.json changes last and in one step, so
    a reader finds the layout as it was or complete, and whoever is killed leaves blobs that nothing names.

    raises   ImageError if a blob is not what its descriptor says, or *dest* holds something else
             (``not-a-layout``); HostError if it cannot be written
    """
    folder = Path(dest)
    with explaining(folder), removed_on_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = _existing(folder)
            added = sum(_add_blob(folder, descriptor, source, report) for descriptor, source in _blobs(images).values())
            _replace(folder / "oci-layout", LAYOUT)
            _replace(folder / "index.json", _merged(before, index_of(images)).bytes())
        finally:
            os.close(lock)
    return added


def index_of(images: Iterable[NamedImage]) -> Index:
    """The index.json that holds *images*: a descriptor for each name, or one without for an image that has none."""
    manifests = [descriptor for image in images for descriptor in _named(image)]
    return Index(media_type=OCI_INDEX, manifests=tuple(manifests))


def _named(image: NamedImage) -> tuple[Descriptor, ...]:
    own = {**image.files.descriptor.annotations, **image.annotations}
    if not image.names:
        return (replace(image.files.descriptor, annotations=own),)
    return tuple(
        replace(image.files.descriptor, annotations=own | {IMAGE_NAME: str(name), REF_NAME: name.tag or str(name)})
        for name in image.names
    )


def _blobs(images: Sequence[NamedImage]) -> dict[Digest, tuple[Descriptor, Path]]:
    """Every blob once, what is named before what names it."""
    found: dict[Digest, tuple[Descriptor, Path]] = {}
    for image in images:
        for descriptor in image.files.contents():
            found.setdefault(descriptor.digest, (descriptor, image.files.blob(descriptor.digest)))
    return found


def _existing(folder: Path) -> Index:
    empty = Index(media_type=OCI_INDEX, manifests=())
    try:
        return replace(empty, manifests=read_root((folder / "index.json").read_bytes()))
    except FileNotFoundError:
        pass
    except ImageError as e:
        raise ImageError(f"{folder} is not an OCI layout: {e.message}", code="not-a-layout") from None
    strange = sorted(set(os.listdir(folder)) - {"oci-layout", "blobs", "ingest"})
    if strange:
        raise ImageError(
            f"{folder} is neither empty nor an OCI layout: {strange[0]} is there",
            code="not-a-layout",
            hint="name an empty folder, or one that is not there",
        )
    return empty


def _merged(before: Index, added: Index) -> Index:
    """*before* with *added* in place of what had the same name, or is the same without one."""

    def key(item: Descriptor) -> tuple[str | None, ...]:
        name = item.annotations.get(REF_NAME), item.annotations.get(IMAGE_NAME)
        return name if any(name) else (item.digest,)

    replaced = {key(item) for item in added.manifests}
    kept = tuple(item for item in before.manifests if key(item) not in replaced)
    return replace(before, manifests=kept + added.manifests)


def _add_blob(folder: Path, descriptor: Descriptor, source: Path, report: Report) -> int:
    path = folder / blob_name(descriptor.digest)
    report(descriptor.size)
    try:
        if path.stat().st_size == descriptor.size:
            return 0  # there from an earlier time, when it got its name complete
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as fd:
        copy_file(source, fd, descriptor.size)
    return descriptor.size


def _replace(path: Path, data: bytes) -> None:
    with writing(path) as fd:
        write_all(fd, data)
