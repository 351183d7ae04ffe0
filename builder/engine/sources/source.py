"""Where files are copied from: one face for contexts, for roots of stages and images, and for what was downloaded.

A path is relative to the root, "/"-separated, without "." and ".."; "" is the root itself. Names are strings whose
undecodable bytes are surrogates (PEP 383). No method follows a symbolic link: ``resolve`` does that, inside the root.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from builder.engine.sources.file_hashes import FileHashes
from builder.errors import ContextError
from builder.layer.ownership import Owners, told_at

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A fifo that took a file's place must not block us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_DEEP = 16
_PIECE = 1000  # characters, of which one may be four bytes; PATH_MAX is 4096 (limits.h)

MOST_LINKS = 255
"""Links followed in one path; continuity's RootPath, which BuildKit uses, stops there (fs/path.go)."""


class SourceRoot(Protocol):
    """A tree that can be read. Used by several threads at once."""

    label: str
    """For errors: ``the build context``."""
    owners: bool
    """Whether owners mean something here and are kept; in a context they are the user's and become 0:0."""
    hashes: FileHashes
    """What is remembered of the files' contents."""

    def entries(self, path: str) -> Mapping[str, os.stat_result]:
        """What the folder *path* holds, sorted by name. ContextError if it cannot be read."""
        ...

    def lstat(self, path: str) -> os.stat_result | None:
        """The status of *path*, or None if nothing is there."""
        ...

    def readlink(self, path: str) -> str:
        """A symbolic link's target."""
        ...

    def reader(self) -> Reader:
        """What opens files; for one thread, to be closed."""
        ...

    def why_missing(self, path: str) -> str | None:
        """Why *path* is not there, if there is more to say than that; one line."""
        ...


class Reader:
    """Opens files and folders below one root, one folder kept open: neighbours are opened one after the other."""

    def __init__(self, base: int, label: str) -> None:
        """*base* is the root's descriptor, from now on the reader's own."""
        self._base = base
        self._label = label
        self._path = ""
        self._folder = base

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        os.close(self._base)

    def _leave(self) -> None:
        if self._folder != self._base:
            os.close(self._folder)
        self._folder, self._path = self._base, ""

    def folder(self, path: str) -> int:
        """A descriptor of the folder *path*, good until the next call. ContextError if it cannot be opened."""
        if path != self._path:
            # Most often it is one of the last one's: a deep tree is not entered anew from its top each time.
            inside = bool(self._path) and path.startswith(f"{self._path}/")
            base, way = (self._folder, path[len(self._path) + 1 :]) if inside else (self._base, path)
            try:
                found = open_folder(base, way) if path else self._base
            except OSError as e:
                raise unreadable(path, e, self._label) from e
            self._leave()
            self._folder, self._path = found, path
        return self._folder

    def file(self, folder: str, name: str) -> int:
        """A descriptor of the file *name* in *folder*, which the caller closes. ContextError if it cannot be read."""
        try:
            return os.open(name, _FILE, dir_fd=self.folder(folder))
        except OSError as e:
            raise unreadable(join(folder, name), e, self._label) from e


def open_folder(base: int, path: str) -> int:
    """A descriptor of the folder *path* below the folder *base*. A link anywhere in it is an error (ELOOP, ENOTDIR).

    So it leads nowhere else, however the tree changes meanwhile, and no path is too long.
    """
    parts = path.split("/")
    return _down(base, _pieces(parts), _by_openat2) if len(parts) > _DEEP else _down(base, parts, _by_name)


def _down(base: int, parts: list[str], opener: Callable[[str, int], int]) -> int:
    here = base
    try:
        for part in parts:
            inner = opener(part, here)
            if here != base:
                os.close(here)
            here = inner
    except OSError:
        if here != base:
            os.close(here)
        raise
    return here


def _by_name(name: str, folder: int) -> int:
    return os.open(name, _FOLDER, dir_fd=folder)


def _by_openat2(path: str, folder: int) -> int:
    """Many names in one call: opening a deep tree's folders one by one would take quadratic time."""
    from native.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2  # slow to import, and rarely needed

    try:
        return openat2(folder, path, _FOLDER, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError as e:
        # Linux before 5.6, and containers whose seccomp filter does not know the call
        if e.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        return _down(folder, path.split("/"), _by_name)


def _pieces(parts: list[str]) -> list[str]:
    """The names joined again to paths that the kernel takes."""
    pieces = [parts[0]]
    for part in parts[1:]:
        if len(pieces[-1]) + len(part) < _PIECE:
            pieces[-1] += "/" + part
        else:
            pieces.append(part)
    return pieces


def unreadable(path: str, error: OSError, label: str) -> ContextError:
    """The error for a file that is there but cannot be read."""
    return ContextError(
        f'"/{path}" in {label} cannot be read: {error.strerror}',
        code="unreadable-source",
        hint="mend its permissions, or exclude it in .dockerignore" if label.startswith(CONTEXT) else None,
    )


CONTEXT = "the build context"


def join(folder: str, name: str) -> str:
    """The path of *name* in *folder*."""
    return f"{folder}/{name}" if folder else name


def split(path: str) -> tuple[str, str]:
    """Folder and name."""
    folder, _, name = path.rpartition("/")
    return folder, name


class TreeRoot:
    """A whole folder: the root of a stage or an image as it is seen here, or what was downloaded."""

    def __init__(
        self,
        folder: Path,
        *,
        label: str = "the source root",
        owners: bool = True,
        hashes: FileHashes | None = None,
        noted: Owners | None = None,
    ) -> None:
        """*noted*: *folder* is a root of ours, whose owners may be recorded; those of its links and special files."""
        self.label = label
        self._noted = noted
        self.owners = owners
        self.hashes = hashes or FileHashes()
        # Opened for each look and closed again: a view that nobody holds open can be unmounted.
        self._folder = folder.absolute()

    def entries(self, path: str) -> Mapping[str, os.stat_result]:
        """What the folder holds."""
        try:
            with self._opened(path) as folder:
                # Names, then statuses: a fifth less than by scandir's entries, and most of a cached build's own time.
                found = [
                    (name, os.stat(name, dir_fd=folder, follow_symlinks=False)) for name in sorted(os.listdir(folder))
                ]
                if self._noted is None:
                    return dict(found)
                return {name: self._told(folder, path, name, status) for name, status in found}
        except OSError as e:
            raise unreadable(path, e, self.label) from e

    def _told(self, folder: int, path: str, name: str, status: os.stat_result) -> os.stat_result:
        if self._noted is None:
            return status
        noted = self._noted.get(os.fsencode(join(path, name))) if self._noted else None
        return told_at(f"/proc/self/fd/{folder}/{name}", status, noted)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        base = folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if path:
                folder = open_folder(base, path)
            yield folder
        finally:
            os.close(base)
            if folder != base:
                os.close(folder)

    def lstat(self, path: str) -> os.stat_result | None:
        """The status of *path*."""
        folder, name = split(path)
        try:
            with self._opened(folder) as above:
                return self._told(above, folder, name, os.stat(name or ".", dir_fd=above, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:
            raise unreadable(path, e, self.label) from e

    def readlink(self, path: str) -> str:
        """A link's target."""
        folder, name = split(path)
        try:
            with self._opened(folder) as above:
                return os.readlink(name, dir_fd=above)
        except OSError as e:
            raise unreadable(path, e, self.label) from e

    def reader(self) -> Reader:
        """What opens files."""
        try:
            return Reader(os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), self.label)
        except OSError as e:
            raise unreadable("", e, self.label) from e

    def why_missing(self, path: str) -> str | None:
        """Nothing is hidden here."""
        return None


class TooManyLinks(Exception):
    """A path leads through a loop of symbolic links."""


def resolve(root: SourceRoot, path: str, *, last: bool = True, passed: list[str] | None = None) -> str:
    """Where *path* leads, all links followed inside *root*, ".." stopping at its top.

    What does not exist stays as it is written, so the result may name nothing.

    last     whether a link at the very end is followed too
    passed   takes up where the links are that were followed
    raises   TooManyLinks
    """
    done: list[str] = []
    ahead = path.split("/")[::-1]
    links = 0
    missing = sys.maxsize  # so many names of ``done`` lead to nothing, and what is below need not be looked for
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            missing = missing if len(done) >= missing else sys.maxsize
            continue
        if len(done) >= missing:
            done.append(part)
            continue
        here = "/".join((*done, part))
        status = root.lstat(here) if ahead or last else None
        if status is not None and stat.S_ISLNK(status.st_mode):
            links += 1
            if links > MOST_LINKS:
                raise TooManyLinks(path)
            if passed is not None:
                passed.append(here)
            target = root.readlink(here)
            if target.startswith("/"):
                done.clear()
            ahead.extend(target.split("/")[::-1])
        else:
            done.append(part)
            if status is None:
                missing = len(done)
    return "/".join(done)
