"""An archive → a folder of a root, as ADD merges it: what lies there stays, equal names are replaced.

The destination is the archive's root: absolute names, ".." and the targets of links end there. Names that begin with
".wh." mean nothing special. A file behind a link that leads to nothing in the destination is an error. What follows
the archive's end is not read, so that it may be anything, and the stream may be cut there.

source   Dockerfile reference, "ADD --unpack", "Adding local tar archives"; moby/go-archive, Unpack, which BuildKit
         calls in a chroot at the destination: implied folders are 0755 and root's, the root's entry is passed over
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from builder.errors import ImageError
from builder.layer.compress import decompressed, sniff
from builder.layer.failures import translated
from builder.layer.folders import clean
from builder.layer.headers import BLOCK
from builder.layer.members import parse
from builder.layer.ownership import Owners
from builder.layer.reader import Reader
from builder.layer.tree import Tree
from native import syscalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """How many members were extracted, with how many bytes of data, and what could not be kept.

    owners  of links and special files, by path below the target, that the file system could not hold
    """

    entries: int
    size: int
    notes: tuple[str, ...] = ()
    owners: Owners = field(default_factory=dict)


def is_archive(stream: BinaryIO) -> bool:
    """Whether *stream*, a file's content from its beginning, is a tar, plain or compressed. The name says nothing.

    source   BuildKit, solver/llbsolver/file/unpack.go: decompressed, it begins with a tar header
    """
    try:
        source = _uncompressed(stream)
        block = b""
        while len(block) < BLOCK and (more := source.read(BLOCK - len(block))):
            block += more
        # Go's reader says "end" to an empty stream and to two blocks of zeros: no first header, so no archive
        if len(block) < BLOCK or not block.strip(b"\0"):
            return False
        parse(block)
    except ImageError:
        return False
    return True


def newest(stream: BinaryIO) -> int | None:
    """The time of the newest file in the archive *stream*, whole seconds since the epoch; None if it is no archive, is
    damaged, or holds no file.

    source   BuildKit, frontend/dockerfile/dockerfile2llb/epoch.go, archiveMaxTimeFromRef
    """
    found: int | None = None
    try:
        with Reader(_uncompressed(stream)) as reader:
            for member in reader:
                if member.kind in b"01":  # hard links are regular files to Go's FileInfo
                    found = member.mtime if found is None else max(found, member.mtime)
    except ImageError:
        return None
    return None if found is None else found // 1_000_000_000


def extract(
    stream: BinaryIO,
    root: Path,
    target: str,
    *,
    owner: tuple[int, int] | None = None,
    report: Callable[[int], None] | None = None,
) -> Extracted:
    """Merge the archive *stream* into the folder *target* of *root*.

    stream   compressed by any kind that ``compress`` reads, or not; from its beginning
    target   there already; links in it are followed inside *root*
    owner    (uid, gid) of everything, instead of what the archive says
    raises   ImageError (``malformed-archive``, ``damaged-compression``), HostError (``no-user-xattrs``), StoreError.
             What was extracted so far stays.
    """
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        folder = syscalls.openat2(base, target.lstrip("/") or ".", flags, 0, syscalls.RESOLVE_IN_ROOT)
    finally:
        os.close(base)
    try:
        work = _Extract(Path(f"/proc/self/fd/{folder}/."), owner)
    finally:
        os.close(folder)
    with Reader(_uncompressed(stream), report) as reader, work.tree, translated("cannot extract the archive", work):
        entries = work.run(reader)
        work.tree.settle_times()
    return Extracted(entries=entries, size=work.size, notes=tuple(work.tree.notes), owners=work.tree.owners)


class _Extract:
    """One run over the members. Iterating gives the path at hand, for errors."""

    def __init__(self, folder: Path, owner: tuple[int, int] | None) -> None:
        # Like all that COPY and ADD bring: see xattrs.is_capability.
        self.tree = Tree(folder, through_links=False, owner=owner, user_attributes=False)
        self._path = b""
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        yield self._path

    def run(self, reader: Reader) -> int:
        entries = 0
        for member in reader:
            path = self._path = clean(member.name)
            if not path:
                continue
            entries += 1
            self.size += member.size
            if member.kind != b"1":
                self.tree.place(member, path, reader)
            elif not self.tree.hard_link(path, clean(member.link)):
                raise ImageError(
                    f"{path.decode(errors='replace')!r} is a hard link to {member.link.decode(errors='replace')!r},"
                    " which is not there",
                    code="malformed-archive",
                )
        return entries


class _Prefixed:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if self._head and size >= 0:
            head, self._head = self._head[:size], self._head[size:]
            return head
        head, self._head = self._head, b""
        return head + self._rest.read(size)


def _uncompressed(stream: BinaryIO) -> BinaryIO:
    head = b""
    while len(head) < 6 and (more := stream.read(6 - len(head))):
        head += more
    return decompressed(sniff(head), cast(BinaryIO, _Prefixed(head, stream)), padded=False)
