"""Several layer folders seen as one tree, without a mount: what overlayfs would show.

source   Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from builder.layer.folders import OPAQUE_XATTR, is_whiteout

_MOST_REMEMBERED = 50_000


class Lowers:
    """Layers' folders, topmost first. No link is followed, so no path leads out of them."""

    def __init__(self, folders: Sequence[Path]) -> None:
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
                continue
            return None if is_whiteout(status) else here
        return None

    def names(self, folder: bytes) -> set[bytes]:
        """The names in the merged *folder*."""
        found: set[bytes] = set()
        hidden: set[bytes] = set()
        for base in self._stack(folder):
            with os.scandir(base) as items:
                for item in items:
                    if item.name not in hidden and item.name not in found:
                        (hidden if is_whiteout(item.stat(follow_symlinks=False)) else found).add(item.name)
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
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            stack.append(here)
            if is_opaque(here):
                break
        if len(self._stacks) >= _MOST_REMEMBERED:
            self._stacks = {b"": self._roots}
        self._stacks[folder] = tuple(stack)
        return self._stacks[folder]


def is_opaque(folder: bytes) -> bool:
    """Whether *folder* hides what lies below it."""
    try:
        return os.getxattr(folder, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:  # ENODATA: no such attribute
        return False
