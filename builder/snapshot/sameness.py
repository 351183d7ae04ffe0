"""When a file of a root is still the one below; and what makes of a changed copy what overlayfs would have made.

The copy of a root differs from an overlay of it in two ways. A file that was touched and is as it was, which overlayfs
shows to be equal to the one below, has another ctime. And the names of one file would stay names of one file, while
overlayfs parts a name that is written to from the others: so in a draft each name is a file of its own, and those that
nobody touched are joined again when it is finished.

source   BuildKit util/overlay, sameDirent; Documentation/filesystems/overlayfs.rst, "Non-standard behavior"
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.layer import xattrs
from builder.layer.index import Comparison, Index, state
from builder.layer.ownership import Owner, Owners
from builder.snapshot.copying import copy_file

Parted = list[list[bytes]]
"""Paths of a copy that were names of one file, for each such file."""


def looks_same(status: os.stat_result, old: os.stat_result) -> bool:
    """Whether all but attributes and content is equal, of two files that are no folders.

    How many names one has does not matter: of a file that was given another name only that name is new, and in the
    layer it is a file of its own (BuildKit util/overlay, compareSysStat).
    """
    return _looks(old) == _looks(status)


def _looks(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_size, status.st_mtime_ns)


def equal_content(one: bytes, other: bytes, mode: int) -> bool:
    """Whether two files of this *mode* hold the same, or are links to the same."""
    if stat.S_ISREG(mode):
        return equal_data(one, other)
    return not stat.S_ISLNK(mode) or os.readlink(one) == os.readlink(other)


def equal_data(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same. Equal size and time prove nothing: touch(1) sets the time back."""
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        while True:
            left, right = a.read(1 << 18), b.read(1 << 18)
            if left != right:
                return False
            if not left:
                return True


def part(tree: Path, index: Index) -> Parted:
    """Make of the names of each regular file in *tree*, which *index* knows, files of their own."""
    root = os.fsencode(tree) + b"/"
    files = [inode for inode, paths in index.linked.items() if stat.S_ISREG(index.known[paths[0]][0][4])]
    parted = [index.linked.pop(inode) for inode in files]
    for paths in parted:
        for path in paths[1:]:
            with _in_place(root + path) as spare:
                copy_file(root + path, spare)
        for path in paths:
            index.known[path] = state(os.lstat(root + path)), index.known[path][1]
    return parted


Below = Callable[[bytes], tuple[bytes, Owner | None]]
"""Of a path that the parent has: the place of its file, and the owner noted of it, if it is a link or special file."""


def settle(before: Index, found: Comparison, parted: Parted, tree: Path, owners: Owners, below: Below) -> None:
    """Take out of *found*, a draft compared with what it was *before*, what is no change.

    Files that are equal to those below are taken as they are now; of *parted* names those that nobody touched are
    joined, wherever they are by now.

    owners   of links and special files, as they were noted in *tree*
    """
    root = os.fsencode(tree) + b"/"
    whole = _untouched(before, found, parted)
    kept = {path for paths in whole for path in paths}
    for path in list(found.touched):
        now, old = found.now.known[path][0], before.known.get(path)
        # Equal but for inode and ctime.
        if path in kept or old is None or stat.S_ISDIR(now[4]) or old[0][2:] != now[2:]:
            continue
        place, owner = below(path)
        held = now[5], now[6]
        if owners.get(path, held) == (owner or held) and _equal(root + path, place, now[4]):
            found.touched.discard(path)
    for paths in whole:
        _join(root, paths, found.now)


def _untouched(before: Index, found: Comparison, parted: Parted) -> Parted:
    """Those of *parted* names that nobody touched, in order."""
    if not parted:
        return []
    there = found.now.known
    members = {before.known[path][0]: number for number, paths in enumerate(parted) for path in paths}
    out: Parted = [[path for path in paths if there.get(path) is before.known[path]] for paths in parted]
    for path in found.touched:  # of a folder that was renamed
        number = members.get(there[path][0])
        if number is not None:
            out[number].append(path)
    return [sorted(paths, key=lambda path: path.split(b"/")) for paths in out if len(paths) > 1]


def _equal(here: bytes, below: bytes, mode: int) -> bool:
    if stat.S_ISREG(mode) and xattrs.read(here) != xattrs.read(below):
        return False
    return os.lstat(below).st_rdev == os.lstat(here).st_rdev and equal_content(here, below, mode)


def _join(root: bytes, paths: list[bytes], now: Index) -> None:
    """Make all *paths* names of the first one's file."""
    first = root + paths[0]
    joined = [paths[0]]
    for path in paths[1:]:
        try:
            with _in_place(root + path) as spare:
                os.link(first, spare)
        except OSError as e:
            if e.errno != errno.EMLINK:
                raise
            break  # as many names as the file system allows: the rest stay files of their own
        joined.append(path)
    for path in joined:
        now.known[path] = state(os.lstat(root + path)), now.known[path][1]
    now.linked[now.known[joined[0]][0][0]] = joined


@contextmanager
def _in_place(path: bytes) -> Iterator[bytes]:
    """Where to make what takes the place of *path* when the block ends; the folder keeps its times."""
    folder = os.path.dirname(path)
    times = os.stat(folder).st_mtime_ns
    spare = folder + b"/.wh.other"  # a name that no layer has
    yield spare
    os.rename(spare, path)
    os.utime(folder, ns=(times, times))
