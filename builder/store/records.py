"""What each step gave for each input: the build cache.

    records/<first 2 hex digits>/<step's hex digest>/<inputs' hex digest>    one sealed JSON object each

A record's modification time is its last use, to the hour. Records are written without fsync: one that a power cut took
or cut short costs its step once more. What a record points to is durable before the record is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from builder.image.names import Digest
from builder.store import atomic, sealed
from builder.store.scratch import Scratch

_FRESH = 3600
"""Seconds for which a use need not be noted again: a cached build writes nothing."""


class Record(NamedTuple):
    """A record and its name; ``used`` is its last use, in seconds since the epoch, to the hour."""

    step: Digest
    inputs: Digest
    value: dict[str, Any]
    used: float


class Records:
    """All records of a store."""

    def __init__(self, root: Path, scratch: Scratch) -> None:
        self._root = str(root)
        self._scratch = scratch

    def find(self, step: Digest, inputs: Digest) -> dict[str, Any] | None:
        """What *step* gave for *inputs*, or None; notes the use."""
        read = _read(f"{self._folder(step)}/{inputs.hex}", use=True)
        return read[0] if read else None

    def siblings(self, step: Digest) -> Iterator[tuple[Digest, dict[str, Any]]]:
        """All that *step* ever gave, with the inputs it was given, the last used first."""
        found = list(self._under(step))
        found.sort(key=lambda record: (-record.used, record.inputs))
        for record in found:
            yield record.inputs, record.value

    def put(self, step: Digest, inputs: Digest, value: dict[str, Any]) -> None:
        """Remember what *step* gave for *inputs*, in place of an earlier record."""
        path = Path(self._folder(step), inputs.hex)
        atomic.write(path, sealed.seal_json(value), temporary=self._scratch.file(), durable=False)

    def delete(self, step: Digest, inputs: Digest) -> None:
        """Forget what *step* gave for *inputs*."""
        folder = self._folder(step)
        atomic.discard(Path(folder, inputs.hex))
        try:
            os.rmdir(folder)
        except OSError:
            pass  # it still holds siblings, or another process puts one there just now

    def __iter__(self) -> Iterator[Record]:
        """All records, in no order."""
        for shard in _names(self._root):
            for step in _names(f"{self._root}/{shard}"):
                if len(step) == 64:
                    yield from self._under(Digest(f"sha256:{step}"))

    def _under(self, step: Digest) -> Iterator[Record]:
        folder = self._folder(step)
        for name in _names(folder):
            read = _read(f"{folder}/{name}", use=False) if len(name) == 64 else None
            if read:
                yield Record(step, Digest(f"sha256:{name}"), *read)

    def _folder(self, step: Digest) -> str:
        digits = step.hex
        return f"{self._root}/{digits[:2]}/{digits}"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: str, *, use: bool) -> tuple[dict[str, Any], float] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        value = sealed.unseal_json(_content(fd, status.st_size))
        if value is not None and use and not 0 <= time.time() - status.st_mtime < _FRESH:
            _note_use(fd)
        return None if value is None else (value, status.st_mtime)
    finally:
        os.close(fd)


def _content(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    while more := os.read(fd, 1 << 16) if len(data) < size else b"":
        data += more
    return data


def _note_use(fd: int) -> None:
    try:
        os.utime(fd)
    except OSError:
        pass  # a read-only store can still be read; the record then looks older than it is
