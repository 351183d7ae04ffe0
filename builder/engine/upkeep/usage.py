"""What the store holds and how much room it takes: the figures are the disk's.

Every file counts once, for the first of: the images, the containers, the build cache, the rest. So their sum is the
store's own size, as du(1) tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.engine.upkeep.measuring import Tree, path_of, tree_sizes, trees, walk
from builder.image.documents import Descriptor
from builder.store.containers import Containers
from builder.store.gc import image_blobs, snapshots_of

if TYPE_CHECKING:
    from builder.image.names import Digest
    from builder.store.store import Store

_CACHE_FOLDERS = ("records", "layers", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A snapshot of the build cache: its tree, and its layer's blob if that is no image's.

    kind    ``base`` (an image, unpacked), ``step``, or ``mount`` (a cache mount)
    used    when a build last wanted it, seconds since the epoch; 0 if nothing leads to it any more
    """

    id: str
    kind: str
    size: int
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes on the disk.

    images      of all blobs that hang on images;  in_use  those of images that containers were made of
    containers  of each container's root, by id
    cache       the entries;  cache_files  the cache's other files, records mostly
    other       the store's own files, and what processes that are gone left behind
    """

    images: int
    in_use: int
    containers: Mapping[str, int]
    cache: tuple[CacheEntry, ...]
    cache_files: int
    other: int

    @property
    def cache_size(self) -> int:
        """All of the build cache."""
        return sum(entry.size for entry in self.cache) + self.cache_files

    @property
    def whole(self) -> int:
        """The store."""
        return self.images + sum(self.containers.values()) + self.cache_size + self.other


def usage(store: Store) -> Usage:
    """Measure the store; what others write meanwhile may be counted or not."""
    sizes = tree_sizes(store, trees(store))
    skip = frozenset(path_of(store, tree) for tree in sizes)
    files = dict(walk(str(store.root), set(), skip))
    blobs = {digest: files.pop(path, 0) for digest in store.blobs for path in (str(store.blobs.path(digest)),)}
    containers = Containers(store).list()
    of_images = {digest for image in store.images.list() for digest in image_blobs(store, image.descriptor)}
    in_use = {digest for one in containers for digest in image_blobs(store, Descriptor.read(one.manifest))}
    roots = {Tree("snapshots", one.shelf, one.snapshot): one.id for one in containers}
    of_images |= in_use
    entries = _entries(store, {tree: size for tree, size in sizes.items() if tree not in roots}, blobs, of_images)
    folders = tuple(f"{store.root}/{name}/" for name in _CACHE_FOLDERS)
    cache_files = sum(size for path, size in files.items() if f"{path}/".startswith(folders))
    cached = {digest for digest, _ in _layers(store)} - of_images
    return Usage(
        images=sum(size for digest, size in blobs.items() if digest in of_images),
        in_use=sum(size for digest, size in blobs.items() if digest in in_use),
        containers={name: sizes.get(tree, 0) for tree, name in roots.items()},
        cache=entries,
        cache_files=cache_files,
        other=sum(files.values())
        - cache_files
        + sum(size for digest, size in blobs.items() if digest not in of_images and digest not in cached)
        + sum(size for tree, size in sizes.items() if tree.name == "drafts"),
    )


def _layers(store: Store) -> list[tuple[Digest, str]]:
    """Blobs of snapshots' layers, and whose they are."""
    return [(info.blob, info.snapshot) for info in store.layers if info.blob is not None]


def _entries(
    store: Store, sizes: Mapping[Tree, int], blobs: Mapping[Digest, int], of_images: set[Digest]
) -> tuple[CacheEntry, ...]:
    extra: dict[str, int] = {}
    counted: set[Digest] = set()
    for digest, snapshot in sorted(_layers(store)):
        if digest not in of_images and digest not in counted:
            counted.add(digest)
            extra[snapshot] = extra.get(snapshot, 0) + blobs.get(digest, 0)
    used: dict[str, float] = {}
    for record in store.records:
        for snapshot in snapshots_of(record.value):
            used[snapshot] = max(used.get(snapshot, 0.0), record.used)
    found = []
    for tree, size in sizes.items():
        if tree.name == "drafts":
            continue
        kind = "mount" if tree.top == "mounts" else "base" if tree.name.startswith("base-") else "step"
        whole = size + extra.pop(tree.name, 0)
        found.append(CacheEntry(id=tree.name, kind=kind, size=whole, used=used.get(tree.name, 0.0)))
    # Layers whose trees are gone: their blobs are still good for an image.
    found += [
        CacheEntry(id=name, kind="step", size=size, used=used.get(name, 0.0)) for name, size in sorted(extra.items())
    ]
    return tuple(sorted(found, key=lambda entry: (-entry.used, entry.id)))
