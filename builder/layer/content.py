"""What a layer changes, as one digest: equal for equal results, whenever they were made.

A step that ran again and made the same files has the same content digest, though not the same tar, for times are left
out. The steps after it are then found in the cache.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from builder.errors import StoreError
from builder.image.names import Digest
from builder.layer.changes import Change, Entry, Removed
from builder.layer.scan import open_folder

_CHUNK = 1 << 20


def content_digest(changes: Iterable[Change], tree: Path) -> Digest:
    """The digest of *changes*: path, type, mode, owner, size, data, links, device, attributes, deletions; not times.

    Every part is framed by its length, so that no two different sequences give the same bytes.

    raises   StoreError (``file-changed``) if a file cannot be read as it was found
    """
    sha = hashlib.sha256(b"pybuild content 1\n")
    base = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pieces: list[bytes] = []
        for change in changes:
            pieces.append(_described(change))
            if isinstance(change, Entry) and change.size and change.hardlink is None and stat.S_ISREG(change.mode):
                _data(base, change, pieces, sha)
            if len(pieces) > 4096:
                sha.update(b"".join(pieces))
                pieces.clear()
        sha.update(b"".join(pieces))
    finally:
        os.close(base)
    return Digest("sha256:" + sha.hexdigest())


def _described(change: Change) -> bytes:
    if isinstance(change, Removed):
        return b"R%d:%b\n" % (len(change.path), change.path)
    link = change.hardlink if change.hardlink is not None else change.link
    kind = b"h" if change.hardlink is not None else b"l" if change.link is not None else b"-"
    parts = [
        b"F%d:%b %d %d %d %d %d %b"
        % (len(change.path), change.path, change.mode, change.uid, change.gid, change.size, change.rdev, kind)
    ]
    if link is not None:
        parts.append(b"%d:%b" % (len(link), link))
    for name in sorted(change.xattrs):
        value = change.xattrs[name]
        parts.append(b" x%d:%b%d:%b" % (len(name), name, len(value), value))
    parts.append(b"\n")
    return b"".join(parts)


def _data(base: int, entry: Entry, pieces: list[bytes], sha: hashlib._Hash) -> None:
    try:
        file = _open(base, entry.path)
        try:
            if entry.size <= 1 << 16:
                data = os.read(file, entry.size)
                left = entry.size - len(data)
                pieces.append(data)
            else:
                sha.update(b"".join(pieces))
                pieces.clear()
                left = entry.size
                while left and (data := os.read(file, min(left, _CHUNK))):
                    sha.update(data)
                    left -= len(data)
        finally:
            os.close(file)
    except OSError as e:
        raise _changed(entry.path, e.strerror or "") from None
    if left:
        raise _changed(entry.path, f"it is {left} bytes shorter than it was")


def _open(base: int, path: bytes) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    folder, _, name = path.rpartition(b"/")
    if len(path) < 4000:  # PATH_MAX
        return os.open(path, flags, dir_fd=base)
    inner = open_folder(base, folder)
    try:
        return os.open(name, flags, dir_fd=inner)
    finally:
        os.close(inner)


def _changed(path: bytes, why: str) -> StoreError:
    return StoreError(f"cannot read {os.fsdecode(path)!r} for its digest: {why}", code="file-changed")
