"""When a file of a root is still the one below; and what makes of a changed copy what overlayfs would have made.

The copy of a root differs from an overlay of it in two ways. A file that was touched and is as it was, which overlayfs
shows to be equal to the one below, has another ctime. And the names of one file would stay names of one file, while
overlayfs parts a name that is written to from the others: so a draft is copied with each name a file of its own, and
those that nobody touched are joined again when it is finished.

source   BuildKit util/overlay, sameDirent; Documentation/filesystems/overlayfs.rst, "Non-standard behavior"
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from builder.layer import xattrs
from builder.layer.scan import Known, State, state, walk

Parted = list[list[bytes]]
"""Paths of a copy that were names of one file, for each such file."""


def looks_same(status: os.stat_result, old: os.stat_result) -> bool:
    """Whether all but attributes and content is equal, of two regular files.

    A file with several names is never the same, for the names are a change.
    """
    if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
        return False
    return (old.st_mode, old.st_uid, old.st_gid, old.st_size, old.st_mtime_ns) == (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
    )


def equal_data(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same. Equal size and time prove nothing: touch(1) sets the time back."""
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        while True:
            left, right = a.read(1 << 18), b.read(1 << 18)
            if left != right:
                return False
            if not left:
                return True


def restore(known: dict[bytes, Known], parted: Parted, tree: Path, below: Path) -> bool:
    """Bring *known*, the index of the draft *tree* when it was copied from *below*, up to what is no change.

    Files that are equal to those below are taken as they are now; of *parted* names those that nobody touched are
    joined, wherever they are by now. Whether anything was.
    """
    members = {known[path][0][0]: number for number, paths in enumerate(parted) for path in paths}
    states = {known[path][0][0]: known[path][0] for paths in parted for path in paths}
    found: dict[int, list[bytes]] = {}
    root, base = os.fsencode(tree) + b"/", os.fsencode(below) + b"/"
    renewed = False
    for path, status in walk(tree):
        if not stat.S_ISREG(status.st_mode):
            continue
        now = state(status)
        if states.get(status.st_ino) == now:
            found.setdefault(members[status.st_ino], []).append(path)
            continue
        old = known.get(path)
        if old is None or old[0] == now or not _was(old[0], now) or status.st_nlink > 1:
            continue
        if _equal(root + path, base + path):
            known[path] = now, {}
            renewed = True
    for paths in found.values():
        renewed = _join(root, paths, known) or renewed
    return renewed


def _was(old: State, now: State) -> bool:
    """Equal but for inode and ctime."""
    return old[2:] == now[2:]


def _equal(here: bytes, below: bytes) -> bool:
    return xattrs.read(here) == xattrs.read(below) and equal_data(here, below)


def _join(root: bytes, paths: list[bytes], known: dict[bytes, Known]) -> bool:
    """Make all *paths* names of the first one's file; folders keep their times."""
    first = root + paths[0]
    for path in paths[1:]:
        folder = os.path.dirname(root + path)
        times = os.stat(folder).st_mtime_ns
        spare = folder + b"/.wh.join"  # a name that no layer has
        try:
            os.link(first, spare)
        except OSError as e:
            if e.errno != errno.EMLINK:
                raise
            break  # as many names as the file system allows: the rest stay files of their own
        os.rename(spare, root + path)
        os.utime(folder, ns=(times, times))
    for path in paths if len(paths) > 1 else ():
        if path in known:
            known[path] = state(os.lstat(root + path)), known[path][1]
    return len(paths) > 1
