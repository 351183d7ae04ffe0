"""Writing into the root that a COPY copies to: folders on the way, files in place of others, owners, modes and times.

A path is relative to the root, without links in it: ``Tree.resolve`` sees to that. With ``--link`` the root counts as
empty: whatever this step did not make itself is no obstacle, and is replaced; folders are merged, but made anew.

source   tonistiigi/fsutil, copy/copy.go, copy/mkdir.go, copy/copy_linux.go; BuildKit, snapshot/diffapply_unix.go
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.dockerfile.source import Span
from builder.engine.copying.modes import ModeChange
from builder.engine.sources.patterns import clean
from builder.engine.sources.source import TooManyLinks, TreeRoot, join, open_folder, resolve, split
from builder.errors import BuilderError, DockerfileError, HostError
from builder.layer import ownership, xattrs
from builder.layer.removal import remove_tree

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_LONGEST = 4000  # of a path in one call; PATH_MAX is 4096 with its NUL (limits.h)


class Tree:
    """The root being written to; one step's worth of it. For one thread.

    owner   of all that is made, or None: folders on the way are root's, what is copied keeps its own
    mode    ``--chmod``
    link    ``--link``: see the module's text
    """

    def __init__(
        self, root: Path, *, owner: tuple[int, int] | None, mode: ModeChange | None, link: bool, where: Span
    ) -> None:
        self.owner = owner
        self.mode = mode
        self.link = link
        self._where = where
        self._reading = TreeRoot(root, label="the image", noted={})
        self._base = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = self._base
        self._path = ""
        self._made: set[str] = set()
        self.noted: dict[bytes, ownership.Owner] = {}
        """Owners of links and special files that the file system could not hold."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        os.close(self._base)

    def forget(self) -> None:
        """Know of nothing that was opened: somebody else wrote to the root."""
        self._leave()

    def _leave(self) -> None:
        if self._folder != self._base:
            os.close(self._folder)
        self._folder, self._path = self._base, ""

    def resolve(self, path: str) -> str:
        """Where *path* leads inside the root; with ``--link`` nothing is there that could lead elsewhere."""
        if self.link:
            return clean(path)
        try:
            return resolve(self._reading, path)
        except TooManyLinks:
            raise DockerfileError(f'"{path}": too many links', code="link-loop", where=self._where) from None

    def status(self, path: str) -> os.stat_result | None:
        """What is at *path*, no link followed; None for nothing. With ``--link`` only what this step made counts."""
        if self.link and path and path not in self._made:
            return None
        return self._reading.lstat(path)

    def enter(self, path: str) -> int:
        """A descriptor of the folder *path*, good until the next call."""
        if path != self._path:
            found = self._base
            if path:
                # Most often it is one of the last one's: a deep tree is not entered anew from its top each time.
                inside = bool(self._path) and path.startswith(f"{self._path}/")
                base, way = (self._folder, path[len(self._path) + 1 :]) if inside else (self._base, path)
                # No link is in the path, and nobody else writes here: the kernel may walk it.
                found = os.open(way, _FOLDER, dir_fd=base) if len(way) < _LONGEST else open_folder(base, way)
            self._leave()
            self._folder, self._path = found, path
        return self._folder

    def make_folders(self, path: str, mode: int) -> list[str]:
        """The folder *path* and all above it; those that are new get *mode* and the step's owner, and are returned.

        In a folder with the set-group-ID bit they have that bit too, and its group unless the step says another:
        mkdir(2), and BuildKit makes them by that alone (fsutil, MkdirAll).

        raises   DockerfileError, code ``not-a-folder``, if something else is in the way
        """
        done, new = "", []
        for part in path.split("/") if path else ():
            above, done = done, join(done, part)
            status = self._in_folder(above, part)
            if status is not None and stat.S_ISDIR(status.st_mode):
                if self._is_ours(done):
                    continue
                self._made.add(done)
            else:
                if status is not None:
                    if self._is_ours(done):
                        raise self._conflict(f"mkdir /{done}: not a directory", "not-a-folder")
                    self._remove(done)
                self._mkdir(done)
                new.append(done)
            self._own_folder(done, mode, self._group_of(above))
        return new

    def _in_folder(self, folder: str, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self.enter(folder), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _group_of(self, folder: str) -> int | None:
        """The group of what is made in *folder*, if that has the set-group-ID bit."""
        if self.link or not os.fstat(self.enter(folder)).st_mode & stat.S_ISGID:
            return None
        status = self._reading.lstat(folder)
        return status.st_gid if status is not None else None

    def _own_folder(self, path: str, mode: int, group: int | None) -> None:
        folder = self.enter(path)
        # Root's by being made by root; but with --link an old one is made anew.
        owner = self.owner or ((0, 0) if self.link else None)
        if group is not None:
            owner, mode = owner or (0, group), mode | stat.S_ISGID
        if owner is not None:
            self.chown(folder, owner)
        os.fchmod(folder, mode)
        if self.link:
            os.utime(folder)

    def _is_ours(self, path: str) -> bool:
        return not self.link or path in self._made

    def _mkdir(self, path: str) -> None:
        above, name = split(path)
        os.mkdir(name, 0o700, dir_fd=self.enter(above))
        if self.link:
            self._made.add(path)

    def _remove(self, path: str) -> None:
        above, name = split(path)
        remove_tree(os.fsencode(name), self.enter(above))

    def folder(self, path: str) -> bool:
        """Make the folder *path*, whose parent exists; False if it was there, and with ``--link`` made by this step.

        raises   DockerfileError, code ``not-a-folder``, if a file or a link is there
        """
        above, name = split(path)
        try:
            os.mkdir(name, 0o700, dir_fd=self.enter(above))
        except FileExistsError:
            status = os.stat(name, dir_fd=self.enter(above), follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if self._is_ours(path):
                    return False
                self._made.add(path)
                return True
            if self._is_ours(path):
                raise self._conflict(f"cannot copy to non-directory: /{path}", "not-a-folder") from None
            self._remove(path)
            self._mkdir(path)
        if self.link:
            self._made.add(path)
        return True

    def create(self, path: str) -> int:
        """A descriptor of a new file at *path*, in place of what was there; the caller closes it.

        raises   DockerfileError, code ``is-a-folder``, if a folder is there
        """
        above, name = split(path)
        folder = self.enter(above)
        try:
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        except FileExistsError:
            self.clear(path)
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=self.enter(above))
        if self.link:
            self._made.add(path)
        return descriptor

    def put(self, path: str, make: Callable[[str, int], None]) -> None:
        """Let ``make(name, folder's descriptor)`` make what is no file and no folder, in place of what was there.

        raises   as ``create``
        """
        above, name = split(path)
        try:
            make(name, self.enter(above))
        except FileExistsError:
            self.clear(path)
            make(name, self.enter(above))
        if self.link:
            self._made.add(path)

    def link_to(self, first: str, path: str) -> bool:
        """Make *path* another name of *first*; False where the file system cannot (EMLINK: it has too many names)."""
        try:
            self.put(
                path,
                lambda name, folder: os.link(
                    first, name, src_dir_fd=self._base, dst_dir_fd=folder, follow_symlinks=False
                ),
            )
        except OSError as e:
            if e.errno in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENAMETOOLONG):
                return False
            raise
        return True

    def clear(self, path: str) -> None:
        """Remove a file that is in the way."""
        above, name = split(path)
        folder = self.enter(above)
        if not self._is_ours(path):
            self._remove(path)
            return
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise self._conflict(f"cannot replace to directory /{path} with file", "is-a-folder")
        os.unlink(name, dir_fd=folder)

    def _conflict(self, message: str, code: str) -> BuilderError:
        return DockerfileError(message, code=code, where=self._where)

    def put_node(self, path: str, kind: int, rdev: int) -> tuple[int, int] | None:
        """Make a fifo or a device; of a device that nobody may make here (kind, rdev), for ``chown_name``."""
        if kind == stat.S_IFIFO:
            self.put(path, lambda name, folder: os.mknod(name, kind | 0o600, dir_fd=folder))
            return None
        real = []
        self.put(path, lambda name, folder: real.append(ownership.make_device(name, folder, kind, rdev)))
        return None if real[-1] else (kind, rdev)

    def chown(self, descriptor: int, owner: tuple[int, int]) -> None:
        """Give an open file its owner."""
        try:
            ownership.give(descriptor, *owner)
        except OSError as e:
            raise self._refused(e, owner) from e

    def chown_name(self, path: str, owner: tuple[int, int], device: tuple[int, int] | None = None) -> None:
        """Give a link or special file its owner. *device*: it stands for this one."""
        above, name = split(path)
        try:
            if not ownership.give(f"/proc/self/fd/{self.enter(above)}/{name}", *owner, device=device):
                self.noted[os.fsencode(path)] = owner
        except OSError as e:
            raise self._refused(e, owner) from e

    def _refused(self, error: OSError, owner: tuple[int, int]) -> BuilderError:
        shown = "{}:{}".format(*owner)
        return HostError(f"the owner {shown} cannot be given: {error.strerror}", code="chown", where=self._where)

    def owner_for(self, status: os.stat_result, kept: bool) -> tuple[int, int]:
        """The owner of what is copied from something with *status*; ``kept``: owners mean something at the source."""
        if self.owner is not None:
            return self.owner
        return (status.st_uid, status.st_gid) if kept else (0, 0)

    def mode_for(self, status: os.stat_result) -> int:
        """The permission bits of what is copied."""
        return stat.S_IMODE(status.st_mode) if self.mode is None else self.mode.apply(status.st_mode)


def copy_capability(source: int, target: int) -> None:
    """Copy a file's capability between two descriptors; a file system that has none is no error (fsutil)."""
    for name, value in xattrs.read(source, xattrs.is_capability).items():
        xattrs.write(target, name, value)
