"""The data of files copied: by reference where the file system can (reflink), else inside the kernel; holes as holes.

source   ioctl_ficlone(2), copy_file_range(2), lseek(2) "Seeking file data and holes"
"""

from __future__ import annotations

import errno
import os

from native import syscalls

_NOT_HERE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)
_MOST = 1 << 30
_SMALL = 1 << 16
"""Bytes up to which reading and writing costs less than asking the kernel to."""


class Data:
    """Copies of many files from one file system to another, or the same."""

    def __init__(self) -> None:
        self._reflinks = True

    def copy(self, old: int, new: int, status: os.stat_result) -> None:
        """Fill the empty file *new* with what is in *old*, both at their beginning."""
        if not status.st_size or (self._reflinks and self._reflink(old, new)):
            return
        size = status.st_size
        if status.st_blocks * 512 < size:
            _copy_sparse(old, new, size)
        elif size > _SMALL:
            _copy_range(old, new, 0, size)
        else:
            _copy_small(old, new, size)

    def _reflink(self, old: int, new: int) -> bool:
        try:
            syscalls.ficlone(new, old)
        except OSError as e:
            if e.errno not in _NOT_HERE:
                raise
            self._reflinks = False  # this file system cannot, so no further try
            return False
        return True


def _copy_small(old: int, new: int, size: int) -> None:
    while data := os.read(old, size):
        view = memoryview(data)
        while view:
            view = view[os.write(new, view) :]
        size -= len(data)
        if not size:
            return


def _copy_sparse(old: int, new: int, size: int) -> None:
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
