"""Temporary files of living processes, and the removal of those of dead ones.

Each process that writes has a folder ``tmp/<random>``, on which it holds a shared flock. Whoever gets the exclusive
lock without waiting knows that its owner, and all that were forked from it, are gone.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from builder.store.atomic import reached, storing, try_lock


class Scratch:
    """The folder for this process's temporary files, made when the first one is wanted. Thread-safe.

    A child made by fork goes on using its parent's folder; the lock lives until the last of them ends.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own: tuple[Path, int] | None = None
        self._guard = threading.Lock()

    def file(self) -> Path:
        """A name that nobody else uses; nothing is there yet."""
        own = self._own
        return (own[0] if own else self._start()) / os.urandom(8).hex()

    def folder(self) -> Path:
        """A new empty folder, mode 0700; its user removes it, or the next ``sweep`` after the process has ended."""
        path = self.file()
        with storing(path):
            path.mkdir(0o700)
        return path

    def _start(self) -> Path:
        with self._guard:
            if self._own is None:
                self.sweep()
                with storing(self._root):
                    self._own = self._claim()
            return self._own[0]

    def _claim(self) -> tuple[Path, int]:
        while True:
            path = self._root / os.urandom(8).hex()
            self._root.mkdir(mode=0o700, exist_ok=True)
            path.mkdir(0o700)
            reached("scratch-made")  # leaves: an empty unlocked folder; a sweep removes it
            fd = _open_folder(path)
            if fd is None:
                continue
            fcntl.flock(fd, fcntl.LOCK_SH)
            # A sweep may have come between mkdir and flock, and removed the folder: the lock is then on nothing.
            if path.exists():
                return path, fd
            os.close(fd)

    def sweep(self) -> int:
        """Remove what dead processes left behind; how many folders.

        What cannot be removed (files of mapped users, seen from outside their namespace) is left for a sweep that can.
        """
        try:
            names = os.listdir(self._root)
        except FileNotFoundError:
            return 0
        own = self._own[0].name if self._own else ""
        return sum(_remove_dead(self._root / name) for name in names if name != own)

    def close(self) -> None:
        """Remove this process's folder with all in it, unless a forked process still holds it."""
        with self._guard:
            own, self._own = self._own, None
            if own:
                os.close(own[1])
                _remove_dead(own[0])


def _open_folder(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None  # gone in the meantime, or nothing of ours


def _remove_dead(path: Path) -> int:
    fd = _open_folder(path)
    if fd is None:
        return 0
    try:
        if not try_lock(fd):
            return 0
        import shutil  # slow to import: it brings every compression along

        shutil.rmtree(path, ignore_errors=True)
        return 0 if path.exists() else 1
    finally:
        os.close(fd)
