"""Folders of snapshots on the disk: locked, and removed.

source   flock(2): a lock goes with the last descriptor of its file, and follows a folder through its rename
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from builder.layer.removal import remove_tree


def lock(folder: Path, how: int) -> int | None:
    """A descriptor of *folder* that holds its lock; None if another has it, or the folder is not there (any more)."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, how)
        # Between open and flock it may have been renamed or removed.
        if os.path.samestat(os.fstat(fd), os.stat(folder)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def discard(folder: Path, fd: int) -> None:
    """Remove *folder*, which *fd* has locked, and close that."""
    try:
        remove(folder)
    finally:
        os.close(fd)


def remove(folder: Path) -> int:
    """Remove *folder* with all in it; the bytes freed."""
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return remove_tree(os.fsencode(folder.name), parent)
    except FileNotFoundError:
        return 0
    finally:
        os.close(parent)


def boot() -> str:
    """The id of this boot. source: random(4), /proc/sys/kernel/random/boot_id"""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
