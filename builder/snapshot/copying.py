"""Trees copied: all that a layer can hold, holes as holes, and the data by reference or inside the kernel.

What is below a folder is named relative to it, so a path may be longer than what the kernel takes in one piece.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from builder.layer import xattrs
from builder.layer.index import Index, Told, state
from builder.layer.scan import open_folder
from builder.snapshot.data import Data
from builder.snapshot.merging import Source, merged

_NONE: dict[bytes, bytes] = {}
_At = tuple[int, bytes]
"""A folder's descriptor, and a name in it."""


@dataclass(slots=True)
class Copied:
    """What was made of a copy.

    index   the copy as it is now
    parted  paths that were names of one file and became files of their own: a list for each such file
    """

    index: Index = field(default_factory=Index)
    parted: list[list[bytes]] = field(default_factory=list)


def copy_tree(source: Path, target: Path) -> None:
    """Make *target*, which is not there, a copy of the file or folder *source*, which nobody changes meanwhile."""
    if stat.S_ISDIR(os.lstat(source).st_mode):
        copy_merged([Source(source)], target)
    else:
        copy_file(os.fsencode(source), os.fsencode(target))


def copy_merged(sources: Sequence[Source], target: Path, *, part: bool = False) -> Copied:
    """Make *target*, which is not there, the tree that *sources* are together: the topmost first.

    part     the names of a file become files of their own; else, and always where they are no regular files, they are
             names of one file again
    """
    os.mkdir(target, 0o700)
    with ExitStack() as stack:
        roots = [_opened(source.root, stack) for source in sources]
        copy = _Copy(_opened(target, stack), part)
        waiting = [(b"", tuple(range(len(sources))))]
        while waiting:
            path, levels = waiting.pop()
            waiting += _folder(copy, path, levels, sources, roots)
        return copy.finished()


def copy_paths(source: Path, target: Path, paths: Iterable[Told]) -> None:
    """Make *target*, which is not there, of what *source* has at *paths*; sorted, and so that folders come first."""
    folders: list[tuple[bytes, int]] = []
    os.mkdir(target, 0o700)
    with ExitStack() as stack:
        root = _opened(source, stack)
        copy = _Copy(_opened(target, stack), part=False)
        last, there = b"", copy.enter(b"", root)
        try:
            folders.append((b"", copy.dress_folder(*there).st_mtime_ns))
            for path, removed in paths:
                above, _, name = path.rpartition(b"/")
                if removed or not path:
                    continue
                if above != last:
                    _close(there)
                    last, there = above, copy.enter(above, root)
                status = os.stat(name, dir_fd=there[0], follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    copy.one(path, status, (there[0], name), (there[1], name))
                    continue
                os.mkdir(name, 0o700, dir_fd=there[1])
                folder = copy.enter(path, root)
                try:
                    copy.dress_folder(*folder)
                finally:
                    _close(folder)
                folders.append((path, status.st_mtime_ns))
        finally:
            _close(there)
        # Times of folders at the end, for making what is in them changes them.
        for path, mtime in folders:
            copy.set_time(path, mtime)


def copy_file(source: bytes, target: bytes) -> None:
    """Make *target*, which is not there, a copy of *source*, which is no folder."""
    with ExitStack() as stack:
        old, new = (_opened(os.path.dirname(path) or b".", stack) for path in (source, target))
        status = os.lstat(source)
        _Copy(new, part=True).one(b"", status, (old, os.path.basename(source)), (new, os.path.basename(target)))


def _opened(folder: Path | bytes, stack: ExitStack) -> int:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _close(both: tuple[int, int]) -> None:
    for fd in both:
        os.close(fd)


def _folder(
    copy: _Copy, path: bytes, levels: tuple[int, ...], sources: Sequence[Source], roots: Sequence[int]
) -> list[tuple[bytes, tuple[int, ...]]]:
    """Copy what is in a folder; the folders in it, which are made, and which of *sources* have them."""
    inner = []
    with ExitStack() as stack:
        olds: list[int] = []
        for level in levels:
            olds.append(open_folder(roots[level], path))
            stack.callback(os.close, olds[-1])
        new = open_folder(copy.target, path)
        stack.callback(os.close, new)
        status = copy.dress_folder(olds[0], new)
        prefix = path + b"/" if path else b""
        for name, found, below in merged(path, levels, olds, sources):
            within = prefix + name
            if stat.S_ISDIR(found.st_mode):
                os.mkdir(name, 0o700, dir_fd=new)
                inner.append((within, below))
            else:
                copy.one(within, found, (olds[levels.index(below[0])], name), (new, name))
        times = (sources[level].times.get(path) for level in range(levels[0] + 1))
        mtime = next((time for time in times if time is not None), status.st_mtime_ns)
        os.utime(new, ns=(mtime, mtime))
        copy.note_folder(path, new)
    return inner


class _Copy:
    """One copying to below *target*."""

    def __init__(self, target: int, part: bool) -> None:
        self.target = target
        self._part = part
        self._data = Data()
        self._copied = Copied()
        self._parted: dict[tuple[int, int], list[bytes]] = {}
        self._links: dict[tuple[int, int], list[bytes]] = {}
        self._held = _NONE

    def finished(self) -> Copied:
        """What it came to."""
        index = self._copied.index
        for paths in self._links.values():
            if len(paths) > 1:  # each further name touched the file
                now = state(self._status(paths[0]))
                index.linked[now[0]] = paths
                index.known |= dict.fromkeys(paths, (now, _NONE))
        self._copied.parted = [paths for paths in self._parted.values() if len(paths) > 1]
        return self._copied

    def _status(self, path: bytes) -> os.stat_result:
        above, _, name = path.rpartition(b"/")
        folder = open_folder(self.target, above)
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)

    def enter(self, path: bytes, root: int) -> tuple[int, int]:
        """Descriptors of the folder *path* below *root* and below the target."""
        old = open_folder(root, path)
        try:
            return old, open_folder(self.target, path)
        except BaseException:
            os.close(old)
            raise

    def set_time(self, path: bytes, mtime: int) -> None:
        """Give the folder *path* its time."""
        folder = open_folder(self.target, path)
        try:
            os.utime(folder, ns=(mtime, mtime))
        finally:
            os.close(folder)

    def dress_folder(self, old: int, new: int) -> os.stat_result:
        """Give a folder that was made owner, mode and attributes of the one that it is a copy of; that one's status."""
        status = os.fstat(old)
        self._held = _dress(old, new, status)
        return status

    def note_folder(self, path: bytes, new: int) -> None:
        """The folder that was dressed last has all that is in it."""
        made = os.fstat(new)
        self._copied.index.known[path] = state(made), self._held

    def one(self, path: bytes, status: os.stat_result, old: _At, new: _At) -> None:
        """Copy what is no folder."""
        mode = status.st_mode
        if stat.S_ISSOCK(mode):
            return  # no layer holds one, and nobody listens any more
        if status.st_nlink > 1:
            key = status.st_dev, status.st_ino
            if self._part and stat.S_ISREG(mode):
                self._parted.setdefault(key, []).append(path)
            else:
                names = self._links.setdefault(key, [])
                names.append(path)
                if len(names) > 1:
                    self._link(names[0], new)
                    return
        made = self._regular(status, old, new) if stat.S_ISREG(mode) else _special(status, old, new)
        self._copied.index.known[path] = state(made), _NONE

    def _link(self, first: bytes, new: _At) -> None:
        above, _, name = first.rpartition(b"/")
        folder = open_folder(self.target, above)
        try:
            os.link(name, new[1], src_dir_fd=folder, dst_dir_fd=new[0], follow_symlinks=False)
        finally:
            os.close(folder)

    def _regular(self, status: os.stat_result, old: _At, new: _At) -> os.stat_result:
        source = os.open(old[1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=old[0])
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(new[1], flags, 0o600, dir_fd=new[0])
            try:
                self._data.copy(source, target, status)
                _dress(source, target, status)
                os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
                return os.fstat(target)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _dress(old: int, new: int, status: os.stat_result) -> dict[bytes, bytes]:
    """Owner, mode and attributes; those that the place allows."""
    os.chown(new, status.st_uid, status.st_gid)
    os.chmod(new, stat.S_IMODE(status.st_mode))
    held = xattrs.read(old)
    return {name: value for name, value in held.items() if xattrs.write(new, name, value)} if held else _NONE


def _special(status: os.stat_result, old: _At, new: _At) -> os.stat_result:
    """Copy a link, a device or a pipe."""
    folder, name = new
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(old[1], dir_fd=old[0]), name, dir_fd=folder)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=folder)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=folder)
    os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=folder, follow_symlinks=False)
    return os.stat(name, dir_fd=folder, follow_symlinks=False)
