"""What one overlay layer changed against those below it, read from its folder alone.

The kernel writes more into an upper folder than was changed: a file opened for writing, a folder above a changed file.
What is equal to the layers below is not told. A folder that was removed and made anew hides all that lies below it by
one mark; told is each name that is gone, and what is equal again is not, as if two trees had been compared. So a layer
is the same whatever made it, and as BuildKit writes it (util/overlay, Changes: an opaque folder is compared with the
one below; no layer of it holds an opaque mark).

source   Documentation/filesystems/overlayfs.rst; OCI image-spec, layer.md, "Whiteouts"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from builder.layer import xattrs
from builder.layer.changes import Change, Entry, Removed
from builder.layer.folders import OVERLAY
from builder.layer.marks import DEVICES, Marks
from builder.layer.ownership import Owners
from builder.layer.scan import Attributes, Links, entry, open_folder, walk
from builder.snapshot.lowers import Lowers
from builder.snapshot.sameness import equal_content, looks_same

_ESCAPED = OVERLAY + b"overlay."
_FUSE = b"user.fuseoverlayfs."


def kept(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Attributes without overlayfs' own, and with those that it escaped as they were written."""
    if not found:
        return found
    return {
        OVERLAY + name[len(_ESCAPED) :] if name.startswith(_ESCAPED) else name: value
        for name, value in found.items()
        if not name.startswith((OVERLAY, _FUSE)) or name.startswith(_ESCAPED)
    }


def changes(
    upper: Path, below: Lowers, owners: Owners, owners_below: Callable[[], Owners], marks: Marks = DEVICES
) -> Iterator[Change]:
    """The changes that the layer folder *upper* makes to the layers *below*, sorted.

    owners   of its links and special files, as they were noted;  owners_below  those of the layers below
    marks    how both say what they hide
    """
    return _Upper(upper, below, owners, cache(owners_below), marks).changes()


class _Upper:
    def __init__(
        self, upper: Path, below: Lowers, owners: Owners, owners_below: Callable[[], Owners], marks: Marks
    ) -> None:
        self._upper = upper
        self._owners = owners
        self._owners_below = owners_below
        self._below = below
        self._marks = marks
        self._attributes = Attributes(upper)
        self._links = Links()
        self._waiting: list[Entry] = []  # unchanged folders above the present path
        self._replaced: bytes | None = None  # the folder, with a "/", in which the layers below count for nothing
        self._gone: list[list[bytes]] = []  # names still to be told as removed, the nearest last, of each folder

    def changes(self) -> Iterator[Change]:
        base = os.open(self._upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, status in walk(self._upper):
                yield from self._gone_before(path)
                if self._replaced is not None and not path.startswith(self._replaced):
                    self._replaced = None
                found = self._find(path)
                if stat.S_ISDIR(status.st_mode):
                    yield from self._folder(base, path, status, found)
                else:
                    yield from self._file(path, status, found)
            yield from self._gone_before(None)
        finally:
            os.close(base)

    def _find(self, path: bytes) -> bytes | None:
        """Where *path* lies in the layers below, if they tell of it: an earlier step's socket is in no layer."""
        found = self._below.find(path)
        return None if found is None or stat.S_ISSOCK(os.lstat(found).st_mode) else found

    def _file(self, path: bytes, status: os.stat_result, found: bytes | None) -> Iterator[Change]:
        marked = self._marks.hidden(path.rpartition(b"/")[2], status) is not None
        if marked and self._marks.apart:  # its folder told of it
            return
        if marked or stat.S_ISSOCK(status.st_mode):
            if found is not None:
                yield from self._told(path)
                yield Removed(path)
            return
        held = kept(self._attributes.xattrs(path, status.st_mode))
        if found is None or not self._same(path, held, status, found):
            yield from self._told(path)
            yield self._entry(path, status, held)

    def _folder(self, base: int, path: bytes, status: os.stat_result, found: bytes | None) -> Iterator[Change]:
        held = kept(self._attributes.xattrs(path, status.st_mode))
        made = entry(path, status, held, None, None)
        old = os.lstat(found) if found is not None else None
        self._waiting = [above for above in self._waiting if _is_above(above.path, path)]
        if found is None or old is None or not stat.S_ISDIR(old.st_mode):
            if path or not _default_root(made):
                yield from self._told(path)
                yield made
            return
        unchanged = (old.st_mode, old.st_uid, old.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
        if not unchanged or kept(xattrs.read(found)) != held:
            yield from self._told(path)
            yield made
        elif path:
            self._waiting.append(made)
        self._look_for_gone(base, path)

    def _look_for_gone(self, base: int, path: bytes) -> None:
        """Remember what the layers below have in the folder *path*, and the root has no more."""
        # overlayfs merges the roots of its layers whatever they are marked with.
        if path and self._replaced is None and self._marks.is_opaque(os.fsencode(self._upper) + b"/" + path):
            self._replaced = path + b"/"
        if self._replaced is None and not self._marks.apart:
            return
        hidden, present = self._names(base, path)
        gone = self._below.names(path) - present if self._replaced is not None else hidden - present
        prefix = path + b"/" if path else b""
        here = [prefix + name for name in gone if self._find(prefix + name) is not None]
        if here:
            self._gone.append(sorted(here, reverse=True))

    def _names(self, base: int, path: bytes) -> tuple[set[bytes], set[bytes]]:
        """What the marks in the folder *path* hide that are files of their own, and what is there beside marks."""
        hidden: set[bytes] = set()
        present: set[bytes] = set()
        folder = open_folder(base, path)
        try:
            for text in os.listdir(folder):
                name = os.fsencode(text)
                mark = self._marks.hidden(name, os.lstat(b"/proc/self/fd/%d/%b" % (folder, name)))
                if mark is not None and self._marks.apart:
                    hidden.add(mark)
                else:
                    present.add(name)
        finally:
            os.close(folder)
        return hidden, present

    def _gone_before(self, path: bytes | None) -> Iterator[Change]:
        """What is gone and sorts before *path*; None: all that is left."""
        here = path.split(b"/") if path is not None else None
        while self._gone:
            names = self._gone[-1]
            while names and (here is None or names[-1].split(b"/") < here):
                lost = names.pop()
                yield from self._told(lost)
                yield Removed(lost)
            if names:  # what comes before it is still in the same folder, or one in it
                return
            self._gone.pop()

    def _entry(self, path: bytes, status: os.stat_result, held: dict[bytes, bytes]) -> Entry:
        link = self._attributes.link(path) if stat.S_ISLNK(status.st_mode) else None
        return entry(path, status, held, link, self._links.first(path, status), self._owners.get(path))

    def _told(self, path: bytes) -> list[Entry]:
        """The folders above *path* that were waiting for a change in them."""
        told = [above for above in self._waiting if _is_above(above.path, path)]
        self._waiting = [above for above in self._waiting if not _is_above(above.path, path)]
        return told

    def _same(self, path: bytes, held: dict[bytes, bytes], status: os.stat_result, found: bytes) -> bool:
        """Whether the file is equal to the one below: it was copied up, and then not changed."""
        if not looks_same(status, os.lstat(found)):
            return False
        if stat.S_ISREG(status.st_mode):
            if kept(xattrs.read(found)) != held:
                return False
        elif path in self._owners:  # else it was copied up without the command's doing
            owner = status.st_uid, status.st_gid
            if self._owners[path] != self._owners_below().get(path, owner):
                return False
        return equal_content(found, os.fsencode(self._upper) + b"/" + path, status.st_mode)


def _is_above(folder: bytes, path: bytes) -> bool:
    return path.startswith(folder + b"/")


def _default_root(made: Entry) -> bool:
    """Whether a root that stands on nothing is as every root begins."""
    return (stat.S_IMODE(made.mode), made.uid, made.gid, made.xattrs) == (0o755, 0, 0, {})
