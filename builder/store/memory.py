"""Things worth remembering between builds that can always be found out again: hashes of a context's files.

    memory/<hex digest of the name>    sealed marshal

Not JSON: a context of a hundred thousand files is read several times as fast, and names may be bytes.
"""

from __future__ import annotations

import marshal
from pathlib import Path
from typing import Any

from builder.image.names import Digest
from builder.store import atomic, sealed
from builder.store.scratch import Scratch

_VERSION = 4  # of marshal's format; every Python from 3.4 on reads it


class Memory:
    """Dictionaries by name, of what marshal can write: strings, bytes, numbers, tuples, lists, dictionaries."""

    def __init__(self, root: Path, scratch: Scratch) -> None:
        self._root = root
        self._scratch = scratch

    def read(self, name: str) -> dict[Any, Any]:
        """What was remembered under *name*; empty if nothing was, or a power cut took it."""
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            return {}
        # marshal must never see bytes that it did not write; the seal says so, and the store is its user's own.
        content = sealed.unseal(data)
        if content is None:
            return {}
        try:
            value = marshal.loads(content)
        except (ValueError, EOFError, TypeError):
            return {}  # a newer Python wrote it in a way that this one cannot read
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: dict[Any, Any]) -> None:
        """Remember *value* under *name*, in place of what was there."""
        data = sealed.seal(marshal.dumps(value, _VERSION))
        atomic.write(self._path(name), data, temporary=self._scratch.file(), durable=False)

    def _path(self, name: str) -> Path:
        return self._root / Digest.of(name.encode("utf-8", "surrogatepass")).hex
