"""What is known about each snapshot's layer.

    layers/<snapshot id>    one sealed JSON object each

Written without fsync: what is lost in a power cut is computed again from the snapshot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.errors import StoreError
from builder.image.names import Digest
from builder.store import atomic, sealed
from builder.store.scratch import Scratch

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """A snapshot's layer: its change against ``parent``.

    diff_id   digest of the uncompressed tar, once it was packed
    blob      digest of the compressed tar in the store, once it was packed; ``media_type`` and ``size`` are the blob's
    content   digest of what the layer holds, times left out
    entries   how many objects it holds; ``bytes`` those of their contents
    created   when a step made it, RFC 3339; None for an image's own layer
    """

    snapshot: str
    parent: str | None = None
    diff_id: Digest | None = None
    blob: Digest | None = None
    media_type: str = ""
    size: int = 0
    content: Digest | None = None
    entries: int = 0
    bytes: int = 0
    created: str | None = None


class Layers:
    """All that is known about layers, by snapshot."""

    def __init__(self, root: Path, lock: Path, scratch: Scratch) -> None:
        self._root = root
        self._lock = lock
        self._scratch = scratch

    def get(self, snapshot: str) -> LayerInfo | None:
        """What is known about the snapshot's layer, or None."""
        try:
            with open(self._path(snapshot), "rb", buffering=0) as file:
                data = file.readall()
        except FileNotFoundError:
            return None
        value = sealed.unseal_json(data)
        if value is None or value.get("snapshot") != snapshot:
            return None  # cut short by a power cut: as if it had never been written
        for name in ("diff_id", "blob", "content"):
            value[name] = Digest(value[name]) if value.get(name) else None
        return LayerInfo(**{name: value[name] for name in LayerInfo.__slots__ if name in value})

    def put(self, info: LayerInfo) -> None:
        """Note *info*, in place of what was known."""
        value = {name: getattr(info, name) for name in LayerInfo.__slots__}
        data = sealed.seal_json({name: item for name, item in value.items() if item not in (None, "", 0)})
        # Last writer wins; two that pack the same snapshot write the same.
        atomic.write(self._path(info.snapshot), data, temporary=self._scratch.file(), durable=False)

    def update(self, snapshot: str, **changes: Any) -> LayerInfo:
        """Add *changes* (fields of LayerInfo) to what is known, or to nothing; what is known then.

        The lock is held for the moment of reading and writing: whoever packs and whoever hashes find different things
        out about the same layer at the same time.
        """
        with atomic.locked(self._lock):
            info = replace(self.get(snapshot) or LayerInfo(snapshot=snapshot), **changes)
            self.put(info)
        return info

    def delete(self, snapshot: str) -> None:
        """Forget the snapshot's layer."""
        atomic.discard(self._path(snapshot))

    def touch(self, snapshot: str) -> None:
        """Note that what is known is wanted now."""
        try:
            os.utime(self._path(snapshot))
        except FileNotFoundError:
            pass  # another process removed it

    def age(self, snapshot: str) -> float:
        """When it was last written, in seconds since the epoch; 0 if it is not there."""
        try:
            return self._path(snapshot).stat().st_mtime
        except FileNotFoundError:
            return 0

    def __iter__(self) -> Iterator[LayerInfo]:
        """All that can be read, in no order."""
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return
        for name in names:
            info = self.get(name) if _SAFE.fullmatch(name) else None
            if info:
                yield info

    def _path(self, snapshot: str) -> Path:
        if not _SAFE.fullmatch(snapshot):
            raise StoreError(f"not a snapshot's id: {snapshot!r}", code="store-io")
        return self._root / snapshot
