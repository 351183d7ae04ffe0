"""The root file system itself: as a tar, or as files in a folder.

``tree`` is the merged root as one folder, opened behind the gate where its owners are mapped.

source   BuildKit, exporter/tar and exporter/local; fsutil, diskwriter.go: the folder's files belong to the caller
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from builder.errors import HostError
from builder.export.destination import appearing, copy_file, explaining, writing
from builder.layer.changes import Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Note = Callable[[str], None]
"""Receives one line about something that was left out."""


def write_tar(entries: Iterable[Entry], tree: Path, dest: str | Path, *, clamp: int | None = None) -> int:
    """Write the root as one tar, owners and all; its size in bytes. ``-`` is stdout.

    entries  of ``layer.scan.scan(tree)``
    clamp    seconds since the epoch that no modification time is later than
    raises   HostError if *dest* cannot be written; StoreError if the tree changes meanwhile
    """
    from builder.layer.pack import pack  # imports a hash and threads that a folder does not need

    with writing(dest) as fd, open(fd, "wb", buffering=1 << 20, closefd=False) as out:
        return pack(entries, tree, out, clamp=clamp).size


def write_folder(
    entries: Iterable[Entry], tree: Path, dest: str | Path, *, note: Note = lambda _: None, clamp: int | None = None
) -> int:
    """Copy the root into the folder *dest*, which appears whole if it is not there; how many bytes of files.

    Files belong to the caller, without setuid and setgid bits of owners that they no longer have; times and other
    permissions are kept. What is there under the same name is replaced, all else stays. No symbolic link below *dest*
    is followed, whether it was there or was copied.

    note     told of each device, pipe and socket, which are left out
    raises   HostError ``output-unwritable``, ``disk-full``
    """
    with explaining(dest), appearing(Path(dest)) as folder, _Folders(tree) as source, _Folders(folder) as target:
        return _Copy(source, target, note, clamp).all(entries)


class _Folders:
    """Folders below a root, opened name by name so that no link is followed; the last one stays open.

    So a path may be longer than what the kernel takes in one piece, and the next file most often costs no opening.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
        self._last: tuple[bytes, int] = (b"", os.dup(self._root))

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._last[1])
        os.close(self._root)

    def enter(self, path: bytes) -> int:
        """A descriptor of the folder *path*, good until the next is entered."""
        if self._last[0] != path:
            fd = self._descend(path)
            os.close(self._last[1])
            self._last = (path, fd)
        return self._last[1]

    def _descend(self, path: bytes) -> int:
        fd = os.dup(self._root)
        for part in path.split(b"/") if path else ():
            try:
                inner = os.open(part, _FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd


class _Copy:
    """One copying: folders stay writable until their contents are complete."""

    def __init__(self, source: _Folders, target: _Folders, note: Note, clamp: int | None) -> None:
        self._source = source
        self._target = target
        self._note = note
        self._clamp = clamp
        self._bytes = 0

    def all(self, entries: Iterable[Entry]) -> int:
        """Copy every entry; the bytes of files."""
        folders = []
        for entry in entries:
            if entry.path == b"":
                continue  # the destination itself is the caller's, as it is
            self._one(entry)
            if stat.S_ISDIR(entry.mode):
                folders.append(entry)
        # Innermost first: a folder's time changes with each name made in it, and its mode may forbid to enter it.
        for entry in reversed(folders):
            self._finish(entry)
        return self._bytes

    def _one(self, entry: Entry) -> None:
        path, _, name = entry.path.rpartition(b"/")
        parent = self._target.enter(path)
        if stat.S_ISDIR(entry.mode):
            self._folder(name, parent)
        elif entry.hardlink is not None:
            self._link(entry.hardlink, name, parent)
        elif stat.S_ISLNK(entry.mode):
            _clear(name, parent)
            os.symlink(entry.link or b"", name, dir_fd=parent)
            self._time(name, parent, entry)
        elif stat.S_ISREG(entry.mode):
            self._file(entry, name, parent)
        else:
            self._note(f"left out {os.fsdecode(entry.path)!r}: a {_kind(entry.mode)} cannot be exported to a folder")

    def _folder(self, name: bytes, parent: int) -> None:
        status = _status(name, parent)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=parent)
            status = None
        if status is None:
            os.mkdir(name, 0o700, dir_fd=parent)
        elif status.st_mode & 0o700 != 0o700:
            os.chmod(name, 0o700, dir_fd=parent)

    def _link(self, first: bytes, name: bytes, parent: int) -> None:
        _clear(name, parent)
        folder, _, other = first.rpartition(b"/")
        target = os.dup(parent)
        try:
            os.link(other, name, src_dir_fd=self._target.enter(folder), dst_dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            pass  # another name of a device, which was noted when it was left out
        finally:
            os.close(target)

    def _file(self, entry: Entry, name: bytes, parent: int) -> None:
        _clear(name, parent)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            self._content(entry, fd)
            for key, value in entry.xattrs.items():
                _set_xattr(fd, key, value)
            os.fchmod(fd, _mode(entry))
            moment = self._moment(entry)
            os.utime(fd, ns=(moment, moment))
        finally:
            os.close(fd)
        self._bytes += entry.size

    def _content(self, entry: Entry, fd: int) -> None:
        path, _, name = entry.path.rpartition(b"/")
        copy_file(Path(f"/proc/self/fd/{self._source.enter(path)}") / os.fsdecode(name), fd, entry.size)

    def _finish(self, entry: Entry) -> None:
        path, _, name = entry.path.rpartition(b"/")
        parent = self._target.enter(path)
        self._time(name, parent, entry)
        os.chmod(name, _mode(entry), dir_fd=parent)

    def _time(self, name: bytes, parent: int, entry: Entry) -> None:
        moment = self._moment(entry)
        os.utime(name, ns=(moment, moment), dir_fd=parent, follow_symlinks=False)

    def _moment(self, entry: Entry) -> int:
        return entry.mtime if self._clamp is None else min(entry.mtime, self._clamp * 1_000_000_000)


def _status(name: bytes, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _clear(name: bytes, parent: int) -> None:
    """Make room for a file: what is there goes, but a folder with something in it stays and is an error."""
    status = _status(name, parent)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as e:
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise HostError(
            f"cannot replace the folder {os.fsdecode(name)!r} by a file: it is not empty",
            code="output-unwritable",
            hint="remove it, or export to an empty folder",
        ) from None


def _mode(entry: Entry) -> int:
    """The permissions in the folder: setuid and setgid would speak of the caller, who is not the owner in the image."""
    mode = entry.mode & 0o7777
    if stat.S_ISREG(entry.mode) and (entry.uid, entry.gid) != (os.geteuid(), os.getegid()):
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    return mode


def _set_xattr(fd: int, key: bytes, value: bytes) -> None:
    try:
        os.setxattr(fd, key, value)
    except OSError as e:
        # A file system without such attributes, or a user who may not give capabilities: the file is still the file.
        if e.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC, errno.E2BIG):
            raise


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
