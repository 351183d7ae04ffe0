"""Removing whole trees, of any depth, with one descriptor open, following no link."""

from __future__ import annotations

import errno
import os
import stat

from native import syscalls


def remove_tree(name: bytes, parent: int) -> int:
    """Remove *name* in the folder *parent* (a descriptor) and all in it; the bytes that were freed.

    The caller is root of the namespace that owns the tree, so no mode stands in the way; or its owner.
    """
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return _freed(status)
    freed = 0
    here = _enter(name, parent)
    # The folders still to be emptied, of each level; depth is bounded by memory alone, not by the stack or descriptors.
    levels: list[list[bytes]] = []
    try:
        size, folders = _empty(here)
        freed += size
        levels.append(folders)
        names = [name]
        while levels:
            if levels[-1]:
                inner = levels[-1].pop()
                here = _step(here, _enter(inner, here))
                names.append(inner)
                size, folders = _empty(here)
                freed += size
                levels.append(folders)
                continue
            levels.pop()
            done = names.pop()
            if levels:
                here = _step(here, _enter(b"..", here))
                os.rmdir(done, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)
    return freed


def _enter(name: bytes, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if name == b"..":
        return os.open(name, flags, dir_fd=parent)
    if os.geteuid():
        # Nobody's root (a build without namespaces): the folder is ours, and its mode may keep even us out.
        os.chmod(name, 0o700, dir_fd=parent)
    # What is mounted in the tree, for whatever mishap, is not ours to remove: EXDEV.
    return syscalls.openat2(parent, name, flags, 0, syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_BENEATH)


def _step(old: int, new: int) -> int:
    os.close(old)
    return new


def _empty(folder: int) -> tuple[int, list[bytes]]:
    """Unlink what is not a folder; the bytes freed, and the folders."""
    freed = 0
    folders = []
    with os.scandir(folder) as names:
        for item in names:
            name = os.fsencode(item.name)
            if item.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            freed += _freed(item.stat(follow_symlinks=False))
            try:
                os.unlink(name, dir_fd=folder)
            except OSError as e:
                if e.errno != errno.ENOENT:
                    raise
    return freed, folders


def _freed(status: os.stat_result) -> int:
    return status.st_blocks * 512 if status.st_nlink == 1 else 0
