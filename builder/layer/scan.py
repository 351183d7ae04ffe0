"""A tree on disk → entries, in one pass.

Order is depth first, names bytewise: the order in which changes are written, a folder before what is in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from builder.layer import ownership, xattrs
from builder.layer.changes import Entry
from builder.layer.ownership import Owners

# A path longer than PATH_MAX (4096 with its NUL, limits.h) must be opened in parts.
_LONGEST = 4000

Found = tuple[bytes, os.stat_result]
"""A path relative to the root, and its ``lstat``."""


def walk(root: Path) -> Iterator[Found]:
    """All that is in *root*, itself first as b"". One open and one getdents per folder, one stat per name.

    No link is followed. The tree must not change meanwhile.
    """
    yield b"", os.stat(root, follow_symlinks=False)
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        stack = [iter(_listing(base, b""))]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
                continue
            yield found
            if stat.S_ISDIR(found[1].st_mode):
                stack.append(iter(_listing(base, found[0])))
    finally:
        os.close(base)


def _listing(base: int, path: bytes) -> list[Found]:
    prefix = path + b"/" if path else b""
    folder = open_folder(base, path)
    try:
        with os.scandir(folder) as names:
            # scandir of a descriptor gives str, undecodable bytes as surrogates (PEP 383)
            listing = [(prefix + os.fsencode(item.name), item.stat(follow_symlinks=False)) for item in names]
    finally:
        os.close(folder)
    listing.sort(key=_path)
    return listing


def _path(found: Found) -> bytes:
    return found[0]


def open_folder(base: int, path: bytes) -> int:
    """A descriptor of the folder *path* below the folder *base*, however long the path is. No link may be in it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if len(path) < _LONGEST:
        return os.open(path or b".", flags, dir_fd=base)
    folder = os.dup(base)
    for part in path.split(b"/"):
        inner = os.open(part, flags, dir_fd=folder)
        os.close(folder)
        folder = inner
    return folder


class Attributes:
    """Reads extended attributes and link targets below a root, by path as long as the kernel takes it."""

    def __init__(self, root: Path) -> None:
        self._prefix = os.fsencode(root) + b"/"
        self._longest = _LONGEST - len(self._prefix)

    def xattrs(self, path: bytes, mode: int) -> dict[bytes, bytes]:
        """What a layer keeps. xattr(7): user attributes are only on files and folders, capabilities only on files."""
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return {}
        if len(path) < self._longest:
            return xattrs.read(self._prefix + path)
        with self._above(path) as place:
            return xattrs.read(place)

    def link(self, path: bytes) -> bytes:
        """A symbolic link's target."""
        if len(path) < self._longest:
            return os.readlink(self._prefix + path)
        with self._above(path) as place:
            return os.readlink(place)

    def status(self, path: bytes) -> os.stat_result:
        """What lstat(2) says."""
        if len(path) < self._longest:
            return os.lstat(self._prefix + path)
        with self._above(path) as place:
            return os.lstat(place)

    def _above(self, path: bytes) -> _Above:
        return _Above(self._prefix, path)


class _Above:
    """A short path to a file too deep for one: through its folder's descriptor."""

    def __init__(self, root: bytes, path: bytes) -> None:
        self._root = root
        self._parent, _, self._name = path.rpartition(b"/")

    def __enter__(self) -> bytes:
        base = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._folder = open_folder(base, self._parent)
        finally:
            os.close(base)
        return b"/proc/self/fd/%d/%b" % (self._folder, self._name)

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


class Links:
    """Hard links, found by device and inode: the first name has the content, later ones name the first."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], bytes] = {}

    def first(self, path: bytes, status: os.stat_result) -> bytes | None:
        """The earlier name of the same file, or None, and then *path* is the first."""
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
            return None
        known = self._first.setdefault((status.st_dev, status.st_ino), path)
        return None if known == path else known


def entry(
    path: bytes,
    status: os.stat_result,
    attributes: dict[bytes, bytes],
    link: bytes | None,
    hardlink: bytes | None,
    noted: ownership.Owner | None = None,
) -> Entry:
    """The entry for what was found at *path*, with the owner and the device that were recorded.

    attributes   with our own record, which is no part of the entry
    noted        the owner that the table has for a link or special file
    """
    if attributes:
        value = attributes.get(ownership.ATTRIBUTE)
        record = ownership.decode(value) if value is not None else None
        attributes = {name: held for name, held in attributes.items() if not name.startswith(ownership.PREFIX)}
    else:
        record = None
    mode, uid, gid, rdev = ownership.as_told(status, record)
    if noted is not None:
        uid, gid = noted
    return Entry(
        path=path,
        mode=mode,
        uid=uid,
        gid=gid,
        mtime=status.st_mtime_ns,
        size=status.st_size if hardlink is None and stat.S_ISREG(mode) else 0,
        link=link,
        hardlink=hardlink,
        rdev=rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0,
        xattrs=attributes,
    )


class Entries:
    """Makes entries of what is found in one tree."""

    def __init__(self, root: Path, owners: Owners) -> None:
        self._attributes = Attributes(root)
        self._links = Links()
        self._owners = owners

    def __call__(self, path: bytes, status: os.stat_result) -> Entry | None:
        """The entry; None for a socket, which no layer can hold."""
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return None
        link = self._attributes.link(path) if stat.S_ISLNK(mode) else None
        attributes, hardlink = self._attributes.xattrs(path, mode), self._links.first(path, status)
        return entry(path, status, attributes, link, hardlink, self._owners.get(path) if self._owners else None)


_NOTHING: Owners = {}


def scan(root: Path, owners: Owners = _NOTHING) -> Iterator[Entry]:
    """All entries of *root*, itself first as b"", sorted; sockets left out.

    owners   of links and special files, as they were noted
    """
    entries = Entries(root, owners)
    for path, status in walk(root):
        made = entries(path, status)
        if made is not None:
            yield made
