"""Names of images, and the images that have none.

    images.json     {"images": {"sha256:…": {"descriptor": {…}, "names": ["docker.io/library/a:1"], "kept": 17…}}}
    locks/images    held while images.json is changed

One small file, replaced durably: a reader sees it before or after a change, never between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import ImageError, StoreError
from builder.image.documents import Descriptor, canonical, read_json
from builder.image.names import Digest, Reference
from builder.store import atomic
from builder.store.scratch import Scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image that is kept; ``names`` sorted, none if it dangles; ``kept`` since when, seconds since the epoch."""

    descriptor: Descriptor
    names: tuple[Reference, ...]
    kept: int


_Table = dict[str, dict[str, Any]]


class Images:
    """The images of a store; any number of names each."""

    def __init__(self, path: Path, lock: Path, scratch: Scratch) -> None:
        self._path = path
        self._lock = lock
        self._scratch = scratch

    def tag(self, ref: Reference, descriptor: Descriptor) -> None:
        """Let *ref* name *descriptor*. An image that loses its last name so is kept without one."""
        self.tag_all((ref,), descriptor)

    def tag_all(self, refs: Iterable[Reference], descriptor: Descriptor) -> None:
        """Let each of *refs* name *descriptor*, as ``tag`` does, in one change."""
        names = {str(ref) for ref in refs}

        def change(table: _Table) -> None:
            for digest, entry in table.items():
                if digest != descriptor.digest and not names.isdisjoint(entry["names"]):
                    entry["names"] = [name for name in entry["names"] if name not in names]
            own = _entry(table, descriptor)
            own["names"] = [*own["names"], *names.difference(own["names"])]

        self._change(change)

    def keep(self, descriptor: Descriptor) -> None:
        """Keep an image that was built without a name."""

        def change(table: _Table) -> None:
            _entry(table, descriptor)

        self._change(change)

    def untag(self, ref: Reference) -> Digest | None:
        """Take the name away; the image it named, which is kept, or None if it named none."""
        found: list[Digest] = []

        def change(table: _Table) -> None:
            for digest, entry in table.items():
                if str(ref) in entry["names"]:
                    entry["names"].remove(str(ref))
                    found.append(Digest(digest))

        self._change(change)
        return found[0] if found else None

    def forget(self, digest: Digest) -> bool:
        """Keep the image no longer, whatever its names; whether it was there. Its blobs go with the next ``prune``."""
        found: list[object] = []

        def change(table: _Table) -> None:
            found.append(table.pop(digest, None))

        self._change(change)
        return found[0] is not None

    def resolve(self, ref: Reference) -> Descriptor | None:
        """What *ref* names; with a digest, the image of that digest, if it is kept."""
        table = self._read()
        if ref.digest is not None:
            entry = table.get(ref.digest)
            return Descriptor.read(entry["descriptor"]) if entry else None
        name = str(ref)
        for entry in table.values():
            if name in entry["names"]:
                return Descriptor.read(entry["descriptor"])
        return None

    def list(self) -> tuple[StoredImage, ...]:
        """All images, the latest first."""
        return tuple(sorted(_stored(self._read()), key=lambda image: (-image.kept, image.descriptor.digest)))

    def _read(self) -> _Table:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            images: _Table = read_json(data, str(self._path))["images"]
            for entry in images.values():
                entry["names"].sort()
        except (ImageError, KeyError, TypeError, AttributeError):
            raise StoreError(
                f"the store is damaged: {self._path} cannot be read",
                code="corrupt-images",
                hint=f"remove that file (the names of images are lost, the build cache is not): rm {self._path}",
            ) from None
        return images

    def _change(self, change: Callable[[_Table], None]) -> None:
        with atomic.locked(self._lock):
            table = self._read()
            before = canonical(table)
            change(table)
            for entry in table.values():
                entry["names"].sort()
            # A build that found everything in the cache names the same image again: nothing is to be written.
            if canonical(table) != before:
                atomic.write(self._path, canonical({"images": table}), temporary=self._scratch.file())


def _entry(table: _Table, descriptor: Descriptor) -> dict[str, Any]:
    fresh = {"descriptor": descriptor.json(), "names": [], "kept": int(time.time())}
    return table.setdefault(descriptor.digest, fresh)


def _stored(table: _Table) -> Iterator[StoredImage]:
    for entry in table.values():
        yield StoredImage(
            descriptor=Descriptor.read(entry["descriptor"]),
            names=tuple(Reference.parse(name) for name in entry["names"]),
            kept=int(entry["kept"]),
        )
