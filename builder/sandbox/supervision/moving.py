"""Supervised calls that rename files or give them further names, where one id only is mapped.

Records go along with their files. A link or special file takes none, and is noted by its path (``layer.noted``): where
such a one comes to another path, or its path to another one, that is noted too. All other renames the kernel does.

source   rename(2), link(2)
"""

from __future__ import annotations

import os

from builder.sandbox.supervision.caller import AT_FDCWD
from builder.sandbox.supervision.owning import Files
from native import constants, syscalls


class Moving:
    """The calls: one ``_on_`` method each, None to let the kernel do it."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._caller = files.caller

    def _on_rename(self, old: int, new: int, *_: int) -> int | None:
        return self._rename((AT_FDCWD, old), (AT_FDCWD, new), 0)

    def _on_renameat(self, from_folder: int, old: int, to_folder: int, new: int, *_: int) -> int | None:
        return self._rename((from_folder, old), (to_folder, new), 0)

    def _on_renameat2(self, from_folder: int, old: int, to_folder: int, new: int, flags: int, *_: int) -> int | None:
        return self._rename((from_folder, old), (to_folder, new), flags)

    def _rename(self, old: tuple[int, int], new: tuple[int, int], flags: int) -> int | None:
        if not self._files.links:
            return None  # as almost always: not even the paths are read
        source, target = (self._caller.at(*each, follow=False) for each in (old, new))
        one, other = self._files.noted(source), self._files.noted(target)
        if one is None and (other is None or not self._files.is_special(source)):
            return None
        syscalls.renameat2(constants.AT_FDCWD, source[0], constants.AT_FDCWD, target[0], flags)
        # What was noted of the target's path would be said of what is there now.
        self._files.note(target, *(one or (0, 0)))
        if flags & constants.RENAME_EXCHANGE and self._files.is_special(source):
            self._files.note(source, *(other or (0, 0)))
        return 0

    def _on_link(self, old: int, new: int, *_: int) -> int | None:
        return self._link((AT_FDCWD, old), (AT_FDCWD, new), 0)

    def _on_linkat(self, from_folder: int, old: int, to_folder: int, new: int, flags: int, *_: int) -> int | None:
        return self._link((from_folder, old), (to_folder, new), flags)

    def _link(self, old: tuple[int, int], new: tuple[int, int], flags: int) -> int | None:
        if not self._files.links or flags:
            return None  # with AT_SYMLINK_FOLLOW and AT_EMPTY_PATH it is a file, as far as anybody knows
        source, target = (self._caller.at(*each, follow=False) for each in (old, new))
        owner = self._files.noted(source)
        if owner is None:
            return None
        os.link(source[0], target[0], follow_symlinks=False)
        # An overlay may have copied it up, so that both have a new inode.
        self._files.note(source, *owner)
        self._files.note(target, *owner)
        return 0
