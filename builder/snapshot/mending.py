"""Times as overlayfs would have left them, in an upper folder that fuse-overlayfs wrote.

The program makes the copies of files in the upper folder as anybody makes files: the folders that they are in get the
time of that. overlayfs puts their times back, so that a folder's time says when names came into it or went. Here that
is found out afterwards: a folder that the layers below have, and in which every name was copied up and none is new,
keeps the time that it has there. A regular file that was copied up says so in an attribute. A link does not, and is
taken for one if it leads where that below leads, and so keeps its time too, which the program does not copy.

source   linux, fs/overlayfs/copy_up.c, ovl_copy_up_one, "Restore timestamps on parent"; fuse-overlayfs main.c, copyup
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from builder.layer.marks import FILES
from builder.layer.scan import walk
from builder.snapshot.lowers import Lowers

_ORIGIN = "user.fuseoverlayfs.origin"
_TICK = 10_000_000
"""Nanoseconds: times come from a clock that advances with the scheduler's tick. source: time(7)"""


def mend_times(upper: Path, below: Lowers, inodes: dict[bytes, int], began: int) -> None:
    """Set back the times in *upper* that are the program's doing.

    inodes   of what was put there before the program began (``fragile``), by path
    began    when the program began, in nanoseconds: an older time is one that a command set
    """
    root = os.fsencode(upper)
    folders: dict[bytes, tuple[os.stat_result, os.stat_result]] = {}  # here, and below
    copied: dict[bytes, int] = {}  # folder → when the last name was copied up into it
    changed: set[bytes] = set()
    replaced: bytes | None = None  # the folder, with a "/", in which the layers below count for nothing
    for path, status in walk(upper):
        if replaced is not None and path.startswith(replaced):
            continue
        found = below.find(path)
        old = os.lstat(found) if found is not None else None
        if stat.S_ISDIR(status.st_mode):
            if path and FILES.is_opaque(root + b"/" + path):
                replaced = path + b"/"
            elif old is not None and stat.S_ISDIR(old.st_mode):
                folders[path] = status, old
        if not path or inodes.get(path) == status.st_ino:
            continue
        above = path.rpartition(b"/")[0]
        if path in folders or _is_copy(root + b"/" + path, path, status, found, old):
            copied[above] = max(copied.get(above, 0), status.st_ctime_ns)
            if stat.S_ISLNK(status.st_mode) and old is not None and status.st_mtime_ns >= began - _TICK:
                _set_time(root + b"/" + path, old)
        else:
            changed.add(above)
    for path, (status, old) in folders.items():
        last = copied.get(path, 0) + _TICK
        if path not in changed and began - _TICK <= status.st_mtime_ns <= last:
            _set_time(root + b"/" + path, old)


def _is_copy(
    place: bytes, path: bytes, status: os.stat_result, found: bytes | None, old: os.stat_result | None
) -> bool:
    """Whether what is at *path* was copied up from there, and is neither new nor renamed."""
    if found is None or old is None or stat.S_IFMT(old.st_mode) != stat.S_IFMT(status.st_mode):
        return False
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(place) == os.readlink(found)
    if not stat.S_ISREG(status.st_mode):
        return False
    try:
        return os.getxattr(place, _ORIGIN).rstrip(b"\0").removeprefix(b"./") == path
    except OSError:  # no such attribute, or none at all on this file system
        return False


def _set_time(place: bytes, old: os.stat_result) -> None:
    os.utime(place, ns=(old.st_mtime_ns, old.st_mtime_ns), follow_symlinks=False)
