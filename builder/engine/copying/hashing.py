"""The digest of what a step takes from its input: the part of the cache key that is content."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator

from builder.engine.copying.select import Match, Picked, Source, below, matches, sources
from builder.engine.sources.source import Reader, SourceRoot, join, split
from builder.image.names import Digest
from builder.layer import xattrs
from builder.plan.steps import CopyStep

_CHUNK = 1 << 20
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def selection_digest(root: SourceRoot, step: CopyStep) -> Digest:
    """The digest of all that ``step.sources`` select in *root*.

    It covers names, types, permission bits, contents, link targets, hard links, file capabilities, and owners
    where *root* keeps them; not times. One ``stat`` for each file once everything is remembered.

    raises   ContextError: a source is missing (``source-not-found``) or unreadable (``unreadable-source``)
    """
    state = hashlib.sha256()
    with root.reader() as reader:
        hasher = _Hasher(root, reader)
        try:
            for source in sources(step):
                for match in matches(root, source, step.where):
                    state.update(b"".join(hasher.lines(match, source, step)))
                state.update(b"\0\0")
        finally:
            root.hashes.flush()
    return Digest("sha256:" + state.hexdigest())


class _Hasher:
    """One line for each selected file, ended by NUL, which no name and no link target can hold."""

    def __init__(self, root: SourceRoot, reader: Reader) -> None:
        self._root = root
        self._reader = reader

    def lines(self, match: Match, source: Source, step: CopyStep) -> Iterator[bytes]:
        folder, name = split(match.path)
        if match.is_folder:
            yield b"folder\0"
        else:
            yield os.fsencode(match.name) + b"\0" + self._line(Picked(folder, "", name, match.status), b"", {})
        first: dict[tuple[int, int], bytes] = {}
        for picked in below(self._root, match, source, step.where):
            # os.fsencode, without its calls: this line runs for every file of a context.
            inner = f"{picked.inner}/{picked.name}" if picked.inner else picked.name
            yield self._line(picked, inner.encode(_ENCODING, _ERRORS), first)

    def _line(self, picked: Picked, inner: bytes, first: dict[tuple[int, int], bytes]) -> bytes:
        status = picked.status
        mode = status.st_mode
        owner = b"%d:%d " % (status.st_uid, status.st_gid) if self._root.owners else b""
        if stat.S_ISREG(mode):
            if status.st_nlink > 1:
                earlier = first.setdefault((status.st_dev, status.st_ino), inner)
                if earlier is not inner:
                    return b"link %b\0%b\0" % (earlier, inner)
            fingerprint = self._root.hashes.find(status) or self._read(picked)
            return b"%o %b%d:%b%b\0" % (mode, owner, len(fingerprint), fingerprint, inner)
        if stat.S_ISDIR(mode):
            late = b"late " if picked.late else b""
            return b"%o %b%b%b\0" % (mode, owner, late, inner)
        if stat.S_ISLNK(mode):
            target = self._root.readlink(join(picked.folder, picked.name))
            return b"%o %b%b\0%b\0" % (mode, owner, os.fsencode(target), inner)
        return b"%o %b%d %b\0" % (mode, owner, status.st_rdev, inner)

    def _read(self, picked: Picked) -> bytes:
        """The fingerprint of a file that is not remembered; it is, from now on."""
        began = time.time_ns()
        found, status = self._content(picked)
        if status is not None:
            self._root.hashes.remember(status, began, found)
        return found

    def _content(self, picked: Picked) -> tuple[bytes, os.stat_result | None]:
        descriptor = self._reader.file(picked.folder, picked.name)
        try:
            state = hashlib.sha256()
            before = os.fstat(descriptor)
            if stat.S_ISREG(before.st_mode):
                while data := os.read(descriptor, _CHUNK):
                    state.update(data)
            attributes = xattrs.read(descriptor, xattrs.is_capability)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        fingerprint = state.digest() + _digest(attributes)
        # Written while it was read: what was hashed may never have been there.
        return fingerprint, after if same_file(before, after) else None


def _digest(attributes: dict[bytes, bytes]) -> bytes:
    """Nothing for none."""
    if not attributes:
        return b""
    framed = (b"%d:%b%d:%b" % (len(name), name, len(value), value) for name, value in sorted(attributes.items()))
    return hashlib.sha256(b"".join(framed)).digest()


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether nothing touched a file between two looks at it."""
    return (one.st_ino, one.st_ctime_ns, one.st_mtime_ns, one.st_size) == (
        other.st_ino,
        other.st_ctime_ns,
        other.st_mtime_ns,
        other.st_size,
    )
