"""The memory of files' content: an unchanged file costs one ``stat`` and is not read again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

RACY = 2_000_000_000
"""Nanoseconds. A file touched less than this before it was read may change again and keep its times, on file systems
whose clock is coarse; it is not remembered. source: git, Documentation/technical/racy-git.txt"""

_SPARE = 20_000
"""How many remembered files may be there beside those that were asked for, before the others are forgotten."""


class FileHashes:
    """Fingerprints of files by identity: device and inode, with size, mtime and ctime. Used by several threads.

    ctime follows every change of content, owner, mode and attributes, and no call can set it (stat(2)); so what is
    remembered holds the extended attributes too.

    load, save   read and write what is remembered: ``{(device, inode): (size, mtime_ns, ctime_ns, fingerprint)}``
    """

    def __init__(
        self,
        load: Callable[[], dict[Any, Any]] | None = None,
        save: Callable[[dict[Any, Any]], None] | None = None,
    ) -> None:
        self._load = load
        self._save = save
        self._known: dict[Any, Any] | None = None
        self._used: set[tuple[int, int]] = set()
        self._changed = False
        self._lock = threading.Lock()

    def find(self, status: os.stat_result) -> bytes | None:
        """The fingerprint of the file with that status, if it is remembered."""
        known = self._known
        if known is None:
            known = self._read()
        key = (status.st_dev, status.st_ino)
        found = known.get(key)
        # Whatever was read back: only what has the right form is believed.
        if type(found) is not tuple or len(found) != 4:
            return None
        size, mtime, ctime, fingerprint = found
        if ctime == status.st_ctime_ns and mtime == status.st_mtime_ns and size == status.st_size:
            self._used.add(key)
            return fingerprint if type(fingerprint) is bytes else None
        return None

    def _read(self) -> dict[Any, Any]:
        with self._lock:
            if self._known is None:
                self._known = self._load() if self._load else {}
            return self._known

    def remember(self, status: os.stat_result, began: int, fingerprint: bytes) -> None:
        """Keep the fingerprint of a file whose reading began at *began*, nanoseconds since the epoch, unless racy."""
        if max(status.st_mtime_ns, status.st_ctime_ns) > began - RACY:
            return
        key = (status.st_dev, status.st_ino)
        self._read()[key] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, fingerprint)
        self._used.add(key)
        self._changed = True

    def flush(self) -> None:
        """Write down what is new."""
        if not self._changed or self._save is None:
            return
        with self._lock:
            known = dict(self._known or {})
            self._changed = False
            if len(known) > 2 * len(self._used) + _SPARE:
                known = {key: known[key] for key in self._used if key in known}
                self._known = known
            self._save(known)
