"""The data of one file, to another: shared blocks where the file system can, else by the kernel, else by hand."""

from __future__ import annotations

import errno
import os

from native.syscalls import ficlone

_SMALL = 1 << 17
_CHUNK = 1 << 20

# What says "not between these two", and not "your disk is full": ioctl_ficlone(2), copy_file_range(2)
_CANNOT = frozenset(
    (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.EIO)
)


class Transfer:
    """Copies file contents; remembers which ways have failed between two file systems. For one thread."""

    def __init__(self) -> None:
        self._no_clone: set[tuple[int, int]] = set()

    def __call__(self, source: int, target: int, size: int) -> int:
        """Copy all that *source* holds, from its beginning, to the empty file *target*; the bytes copied.

        size  what it is expected to hold
        """
        if size <= _SMALL:
            data = os.read(source, size + 1)
            if len(data) <= size:
                _write(target, data)
                return len(data)
            _write(target, data)
            return len(data) + _by_hand(source, target)
        if self._clone(source, target):
            return os.fstat(target).st_size
        return _by_kernel(source, target)

    def _clone(self, source: int, target: int) -> bool:
        pair = os.fstat(source).st_dev, os.fstat(target).st_dev
        if pair in self._no_clone:
            return False
        try:
            ficlone(target, source)
        except OSError as e:
            if e.errno not in _CANNOT:
                raise
            self._no_clone.add(pair)
            return False
        return True


def _by_kernel(source: int, target: int) -> int:
    done = 0
    while True:
        try:
            copied = os.copy_file_range(source, target, 1 << 30)
        except OSError as e:
            if e.errno not in _CANNOT:
                raise
            return done + _by_hand(source, target)
        if not copied:
            # Some file systems (procfs, old FUSE) answer 0 and yet have data: a read tells.
            return done + _by_hand(source, target)
        done += copied


def _by_hand(source: int, target: int) -> int:
    done = 0
    while data := os.read(source, _CHUNK):
        _write(target, data)
        done += len(data)
    return done


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
