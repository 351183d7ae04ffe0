"""Hard links that lead out of a folder parted: who writes to one side then changes nothing on the other.

Between mounts no link can be made, so that a command that wants one copies. Where a cache lies in the command's own
root it can be made, and would lead from a later build's cache into a layer.

source   link(2), EXDEV
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from builder.layer import xattrs
from builder.layer.scan import walk

_CHUNK = 1 << 30


def part_links(top: Path) -> None:
    """Let no file in *top*, or *top* itself, be the same as one outside of it: the one inside becomes a copy.

    Links among what is inside stay.
    """
    inside: dict[tuple[int, int], list[bytes]] = {}
    links: dict[tuple[int, int], int] = {}
    if not stat.S_ISDIR(os.stat(top, follow_symlinks=False).st_mode):
        return
    for path, status in walk(top):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            inside.setdefault((status.st_dev, status.st_ino), []).append(path)
            links[status.st_dev, status.st_ino] = status.st_nlink
    base = os.fsencode(top) + b"/"
    for key, paths in inside.items():
        if links[key] > len(paths):
            _part([base + path for path in paths])


def _part(paths: list[bytes]) -> None:
    first = paths[0]
    status = os.stat(first, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        os.unlink(first)  # a link or a fifo in a cache: nothing to be kept apart, and nothing lost that matters
        for path in paths[1:]:
            os.unlink(path)
        return
    fresh = first + b".pybuild-copy"
    _copy(first, fresh, status)
    for path in paths:
        os.unlink(path)
        os.link(fresh, path)
    os.unlink(fresh)


def _copy(source: bytes, target: bytes, status: os.stat_result) -> None:
    old = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while os.copy_file_range(old, new, _CHUNK):
                pass
            os.fchown(new, status.st_uid, status.st_gid)
            os.fchmod(new, stat.S_IMODE(status.st_mode))
            for name, value in xattrs.read(source).items():
                xattrs.write(target, name, value)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(new)
    finally:
        os.close(old)
