"""What one overlay layer changed against those below it, read from its folder alone.

The kernel writes more into an upper folder than was changed: a file opened for writing, a folder above a changed file.
What is equal to the layers below is not told.

source   Documentation/filesystems/overlayfs.rst; OCI image-spec, layer.md, "Whiteouts"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from builder.layer import xattrs
from builder.layer.changes import Change, Emptied, Entry, Removed
from builder.layer.folders import OPAQUE_XATTR, OVERLAY, is_whiteout
from builder.layer.noted import Owners
from builder.layer.scan import Attributes, Links, entry, walk
from builder.snapshot.lowers import Lowers

_ESCAPED = OVERLAY + b"overlay."


def kept(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Attributes without overlayfs' own, and with those that it escaped as they were written."""
    if not found:
        return found
    return {
        OVERLAY + name[len(_ESCAPED) :] if name.startswith(_ESCAPED) else name: value
        for name, value in found.items()
        if not name.startswith(OVERLAY) or name.startswith(_ESCAPED)
    }


def changes(upper: Path, below: Lowers, owners: Owners) -> Iterator[Change]:
    """The changes that the layer folder *upper* makes to the layers *below*, sorted.

    owners   of its links and special files, as they were noted
    """
    return _Upper(upper, below, owners).changes()


class _Upper:
    def __init__(self, upper: Path, below: Lowers, owners: Owners) -> None:
        self._upper = upper
        self._owners = owners
        self._below = below
        self._attributes = Attributes(upper)
        self._links = Links()
        self._waiting: list[Entry] = []  # unchanged folders above the present path
        self._fresh: bytes | None = None  # the folder in which the layers below count for nothing

    def changes(self) -> Iterator[Change]:
        for path, status in walk(self._upper):
            if self._fresh is not None and not path.startswith(self._fresh):
                self._fresh = None
            found = None if self._fresh is not None else self._below.find(path)
            if stat.S_ISDIR(status.st_mode):
                yield from self._folder(path, status, found)
            elif is_whiteout(status) or stat.S_ISSOCK(status.st_mode):
                if found is not None:
                    yield from self._told(path)
                    yield Removed(path)
            else:
                held = kept(self._attributes.xattrs(path, status.st_mode))
                made = self._entry(path, status, held)
                if found is None or not self._same(path, held, status, found):
                    yield from self._told(path)
                    yield made

    def _folder(self, path: bytes, status: os.stat_result, found: bytes | None) -> Iterator[Change]:
        raw = self._attributes.xattrs(path, status.st_mode)
        held = kept(raw)
        made = entry(path, status, held, None, None)
        old = os.lstat(found) if found is not None else None
        self._waiting = [above for above in self._waiting if _is_above(above.path, path)]
        if found is None or old is None or not stat.S_ISDIR(old.st_mode):
            if path or not _default_root(made):
                yield from self._told(path)
                yield made
            return
        emptied = bool(path) and raw.get(OPAQUE_XATTR) == b"y"
        unchanged = (old.st_mode, old.st_uid, old.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
        if unchanged and kept(xattrs.read(found)) == held and not emptied:
            if path:
                self._waiting.append(made)
            return
        yield from self._told(path)
        yield made
        if emptied:
            yield Emptied(path)
            self._fresh = path + b"/"

    def _entry(self, path: bytes, status: os.stat_result, held: dict[bytes, bytes]) -> Entry:
        link = self._attributes.link(path) if stat.S_ISLNK(status.st_mode) else None
        return entry(path, status, held, link, self._links.first(path, status), self._owners.get(path))

    def _told(self, path: bytes) -> list[Entry]:
        """The folders above *path* that were waiting for a change in them."""
        told = [above for above in self._waiting if _is_above(above.path, path)]
        self._waiting = [above for above in self._waiting if not _is_above(above.path, path)]
        return told

    def _same(self, path: bytes, held: dict[bytes, bytes], status: os.stat_result, found: bytes) -> bool:
        """Whether the file is equal to the one below: it was copied up, and then not changed.

        A file with several names is told always, for the names are a change.
        """
        if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
            return False
        old = os.lstat(found)
        if (old.st_mode, old.st_uid, old.st_gid, old.st_size, old.st_mtime_ns) != (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_mtime_ns,
        ):
            return False
        # Equal size and time prove nothing: touch(1) sets the time back.
        return kept(xattrs.read(found)) == held and _equal(found, os.fsencode(self._upper) + b"/" + path)


def _equal(one: bytes, other: bytes) -> bool:
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        while True:
            left, right = a.read(1 << 18), b.read(1 << 18)
            if left != right:
                return False
            if not left:
                return True


def _is_above(folder: bytes, path: bytes) -> bool:
    return path.startswith(folder + b"/")


def _default_root(made: Entry) -> bool:
    """Whether a root that stands on nothing is as every root begins."""
    return (stat.S_IMODE(made.mode), made.uid, made.gid, made.xattrs) == (0o755, 0, 0, {})
