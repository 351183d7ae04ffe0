"""A tar of few and big members, written to a descriptor; deterministic: no time, no owner.

source   builder.layer.headers draws the header
"""

from __future__ import annotations

from pathlib import Path

from builder.export.destination import copy_file, write_all
from builder.layer.headers import BLOCK, header

_RECORD = 10240  # POSIX pax: "blocksize"; what tar(1) pads an archive to


class Tarball:
    """The archive being written; ``size`` counts its bytes so far."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = 0

    def folder(self, name: str) -> None:
        """A folder's entry; *name* ends in "/"."""
        self._put(header(name.encode(), b"5", mode=0o755))

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A file that holds *data*."""
        self._put(header(name.encode(), b"0", mode=mode, size=len(data)) + data + bytes(-len(data) % BLOCK))

    def add_file(self, name: str, source: Path, size: int) -> None:
        """A file that holds the *size* bytes of *source*; ImageError if it has another size."""
        self._put(header(name.encode(), b"0", mode=0o444, size=size))
        copy_file(source, self._fd, size)
        self.size += size
        self._put(bytes(-size % BLOCK))

    def finish(self) -> None:
        """Two empty blocks, and what fills the last record."""
        self._put(bytes(2 * BLOCK))
        self._put(bytes(-self.size % _RECORD))

    def _put(self, data: bytes) -> None:
        write_all(self._fd, data)
        self.size += len(data)
