"""Several layer folders seen as one tree, without a mount: what overlayfs would show.

source   Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from builder.layer.marks import DEVICES, Marks

_MOST_REMEMBERED = 50_000


class Lowers:
    """Layers' folders, topmost first, with the *marks* they have. No link is followed: no path leads out of them."""

    def __init__(self, folders: Sequence[Path], marks: Marks = DEVICES) -> None:
        self._marks = marks
        self._roots = tuple(os.fsencode(folder) for folder in folders)
        self._stacks: dict[bytes, tuple[bytes, ...]] = {b"": self._roots}

    def find(self, path: bytes) -> bytes | None:
        """Where the file or folder *path* lies (its topmost one), or None if the layers hold none."""
        if not path:
            return self._roots[0] if self._roots else None
        folder, _, name = path.rpartition(b"/")
        for base in self._stack(folder):
            here = base + b"/" + name
            try:
                status = os.lstat(here)
            except FileNotFoundError:
                if self._marks.hides(base, name):
                    return None
                continue
            return here if self._marks.hidden(name, status) is None else None
        return None

    def names(self, folder: bytes) -> set[bytes]:
        """The names in the merged *folder*."""
        found: set[bytes] = set()
        hidden: set[bytes] = set()
        for base in self._stack(folder):
            gone: set[bytes] = set()
            with os.scandir(base) as items:
                for item in items:
                    mark = self._marks.hidden(item.name, item.stat(follow_symlinks=False))
                    if mark is not None:
                        gone.add(mark)
                    elif item.name not in hidden:
                        found.add(item.name)
            hidden |= gone
        return found

    def _stack(self, folder: bytes) -> tuple[bytes, ...]:
        """The folders that are merged into *folder*, topmost first."""
        known = self._stacks.get(folder)
        if known is not None:
            return known
        above, _, name = folder.rpartition(b"/")
        stack: list[bytes] = []
        for base in self._stack(above):
            here = base + b"/" + name
            try:
                status = os.lstat(here)
            except FileNotFoundError:
                if self._marks.hides(base, name):
                    break
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            stack.append(here)
            if self._marks.is_opaque(here):
                break
        if len(self._stacks) >= _MOST_REMEMBERED:
            self._stacks = {b"": self._roots}
        self._stacks[folder] = tuple(stack)
        return self._stacks[folder]
