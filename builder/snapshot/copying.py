"""A whole tree copied: all that a layer can hold, holes as holes, and the data by reference or inside the kernel.

source   ioctl_ficlone(2), copy_file_range(2), lseek(2) "Seeking file data and holes"
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from builder.layer import xattrs
from builder.layer.scan import walk
from native import syscalls

_NOT_HERE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)
_MOST = 1 << 30


def copy_tree(source: Path, target: Path, *, part: bool = False) -> list[list[bytes]]:
    """Make *target*, which is not there, a copy of the folder *source*, which nobody changes meanwhile.

    part     the names of a file become files of their own; else, and always where they are no regular files, they are
             names of one file again
    returns  the paths, relative to the folders, that were parted: a list for each file
    """
    copy = _Copy(os.fsencode(source), os.fsencode(target), part)
    copy.run(source)
    return [paths for paths in copy.parted.values() if len(paths) > 1]


class _Copy:
    def __init__(self, source: bytes, target: bytes, part: bool) -> None:
        self._source = source
        self._target = target
        self._part = part
        self.parted: dict[tuple[int, int], list[bytes]] = {}
        self._links: dict[tuple[int, int], bytes] = {}
        self._reflinks = True
        self._folders: list[tuple[bytes, os.stat_result]] = []

    def run(self, source: Path) -> None:
        for path, status in walk(source):
            tail = b"/" + path if path else b""
            self._one(self._source + tail, self._target + tail, status)
        # Times of folders at the end, for making what is in them changes them.
        for target, status in reversed(self._folders):
            os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _one(self, source: bytes, target: bytes, status: os.stat_result) -> None:
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return  # no layer holds one, and nobody listens any more
        if stat.S_ISDIR(mode):
            os.mkdir(target, 0o700)
            self._dress(source, target, status)
            self._folders.append((target, status))
            return
        if status.st_nlink > 1 and self._part and stat.S_ISREG(mode):
            self.parted.setdefault((status.st_dev, status.st_ino), []).append(target[len(self._target) + 1 :])
        elif status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), target)
            if first != target:
                os.link(first, target, follow_symlinks=False)
                return
        if stat.S_ISREG(mode):
            self._data(source, target, status)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        else:
            os.mknod(target, mode, status.st_rdev)
        self._dress(source, target, status)
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)

    def _dress(self, source: bytes, target: bytes, status: os.stat_result) -> None:
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return
        os.chmod(target, stat.S_IMODE(status.st_mode))
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            for name, value in xattrs.read(source).items():
                xattrs.write(target, name, value)

    def _data(self, source: bytes, target: bytes, status: os.stat_result) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        old = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            new = os.open(target, flags, 0o600)
            try:
                if status.st_size and not (self._reflinks and self._reflink(old, new)):
                    _copy_data(old, new, status)
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _reflink(self, old: int, new: int) -> bool:
        try:
            syscalls.ficlone(new, old)
        except OSError as e:
            if e.errno not in _NOT_HERE:
                raise
            self._reflinks = False  # this file system cannot, so no further try
            return False
        return True


def _copy_data(old: int, new: int, status: os.stat_result) -> None:
    size = status.st_size
    if status.st_blocks * 512 >= size:
        _copy_range(old, new, 0, size)
        return
    os.ftruncate(new, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(old, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = os.lseek(old, start, os.SEEK_HOLE)
        _copy_range(old, new, start, at)


def _copy_range(old: int, new: int, start: int, end: int) -> None:
    os.lseek(old, start, os.SEEK_SET)
    os.lseek(new, start, os.SEEK_SET)
    left = end - start
    while left:
        try:
            count = os.copy_file_range(old, new, min(left, _MOST))
        except OSError as e:
            if e.errno not in _NOT_HERE:
                raise
            data = os.read(old, min(left, 1 << 20))
            count = len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(new, view) :]
        if not count:
            return
        left -= count
