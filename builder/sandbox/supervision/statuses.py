"""Supervised calls of the stat family: files whose owner is recorded are told with it, all others by the kernel."""

from __future__ import annotations

import os
import struct

from builder.sandbox.supervision.caller import AT_FDCWD, Place
from builder.sandbox.supervision.owning import Files
from native.constants import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW

# struct stat: <asm/stat.h> on x86_64, <asm-generic/stat.h> on aarch64
_X86_64 = struct.Struct("=QQQIIIIQqqqqQqQqQ24x")
_AARCH64 = struct.Struct("=QQIIIIQQqiiqqQqQqQ8x")
# struct stat64 of their 32-bit programs, i386's and arm's: <asm/stat.h>
_I386 = struct.Struct("=Q4xIIIIIQ4xqIQIIIIIIQ")
_ARM = struct.Struct("=Q4xIIIIIQ4x4xqI4xQIIIIIIQ")
# struct statx, <linux/stat.h>: up to stx_mnt_id, which is left out as are the birth time and the attributes
_STATX = struct.Struct("=IIQIIIHHQQQQqI4xqI4xqI4xqI4xIIII112x")
_BASIC = 0x7FF
"""source: linux/stat.h, STATX_BASIC_STATS."""
_SECOND = 1_000_000_000


class Statuses:
    """The calls: one ``_on_`` method each, None to let the kernel answer."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._caller = files.caller
        x86_64 = os.uname().machine == "x86_64"
        self._pack = _x86_64 if x86_64 else _aarch64
        self._layout_of_32_bits = _I386 if x86_64 else _ARM

    def _on_stat(self, path: int, buffer: int, *_: int) -> int | None:
        return self._tell(self._caller.at(AT_FDCWD, path), buffer)

    def _on_lstat(self, path: int, buffer: int, *_: int) -> int | None:
        return self._tell(self._caller.at(AT_FDCWD, path, follow=False), buffer)

    def _on_fstat(self, fd: int, buffer: int, *_: int) -> int | None:
        return self._tell(self._caller.open(fd), buffer)

    def _on_newfstatat(self, folder: int, path: int, buffer: int, flags: int, *_: int) -> int | None:
        follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
        return self._tell(self._caller.at(folder, path, follow=follow, empty=empty), buffer)

    def _on_stat64(self, path: int, buffer: int, *_: int) -> int | None:
        return self._tell_short(self._caller.at(AT_FDCWD, path), buffer)

    def _on_lstat64(self, path: int, buffer: int, *_: int) -> int | None:
        return self._tell_short(self._caller.at(AT_FDCWD, path, follow=False), buffer)

    def _on_fstat64(self, fd: int, buffer: int, *_: int) -> int | None:
        return self._tell_short(self._caller.open(fd), buffer)

    def _on_fstatat64(self, folder: int, path: int, buffer: int, flags: int, *_: int) -> int | None:
        follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
        return self._tell_short(self._caller.at(folder, path, follow=follow, empty=empty), buffer)

    def _on_statx(self, folder: int, path: int, flags: int, _mask: int, buffer: int, *_: int) -> int | None:
        follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
        place = self._caller.at(folder, path, follow=follow, empty=empty)
        status = self._recorded(place)
        if status is None:
            return None
        self._caller.write(buffer, _statx(status))
        return 0

    def _tell(self, place: Place, buffer: int) -> int | None:
        status = self._recorded(place)
        if status is None:
            return None
        self._caller.write(buffer, self._pack(status))
        return 0

    def _tell_short(self, place: Place, buffer: int) -> int | None:
        status = self._recorded(place)
        if status is None:
            return None
        self._caller.write(buffer, _stat64(self._layout_of_32_bits, status))
        return 0

    def _recorded(self, place: Place) -> os.stat_result | None:
        try:
            return self._files.recorded(place)
        except OSError:
            return None  # whatever is wrong with it, the kernel says it better


def _times(status: os.stat_result) -> tuple[int, ...]:
    return (
        *divmod(status.st_atime_ns, _SECOND),
        *divmod(status.st_mtime_ns, _SECOND),
        *divmod(status.st_ctime_ns, _SECOND),
    )


def _x86_64(status: os.stat_result) -> bytes:
    return _X86_64.pack(
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        0,
        status.st_rdev,
        status.st_size,
        status.st_blksize,
        status.st_blocks,
        *_times(status),
    )


def _aarch64(status: os.stat_result) -> bytes:
    return _AARCH64.pack(
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        0,
        status.st_size,
        status.st_blksize,
        0,
        status.st_blocks,
        *_times(status),
    )


def _stat64(layout: struct.Struct, status: os.stat_result) -> bytes:
    return layout.pack(
        status.st_dev,
        status.st_ino & 0xFFFFFFFF,
        status.st_mode,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        status.st_size,
        status.st_blksize,
        status.st_blocks,
        *(part & 0xFFFFFFFF for part in _times(status)),
        status.st_ino,
    )


def _statx(status: os.stat_result) -> bytes:
    accessed, modified, changed = (_times(status)[at : at + 2] for at in (0, 2, 4))
    return _STATX.pack(
        _BASIC,
        status.st_blksize,
        0,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_mode,
        0,
        status.st_ino,
        status.st_size,
        status.st_blocks,
        0,
        *accessed,
        0,
        0,
        *changed,
        *modified,
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        os.major(status.st_dev),
        os.minor(status.st_dev),
    )


def packed(status: os.stat_result) -> bytes:
    """The struct stat of this machine."""
    return _x86_64(status) if os.uname().machine == "x86_64" else _aarch64(status)


def packed_statx(status: os.stat_result) -> bytes:
    """The struct statx."""
    return _statx(status)
