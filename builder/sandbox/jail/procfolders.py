"""The folders of /proc and /sys as a command in a jail lists them: their names, in the root's own /proc.

source   proc(5)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from builder.sandbox import orphans
from builder.sandbox.jail.procnames import HIDDEN, Name

_BESIDE = (b"self", b"thread-self")


class Folders:
    """Shows folders of those *outside* (``proc`` and ``sys``: descriptors) in the present root.

    parent   whose descendants are shown, no other process is
    """

    def __init__(self, outside: Mapping[str, int], parent: int) -> None:
        self._outside = outside
        self._parent = parent
        self._devices = {kind: os.fstat(fd).st_dev for kind, fd in outside.items()}

    def is_one(self, name: Name, status: os.stat_result) -> bool:
        """Whether *status*, of a folder, is of one of those file systems; not of where a link of theirs leads."""
        # Below /sys others are mounted, of control groups for instance; none of them is in the command's root.
        return name.kind == "sys" or status.st_dev == self._devices[name.kind]

    def show(self, name: Name) -> bytes:
        """Its path in the root, where its names are as they are outside just now."""
        # As the caller, who alone may look at what its processes have open.
        wanted = self._listing(name)
        status = os.stat(name.path, dir_fd=self._outside[name.kind])
        with _as_root():
            _write(name.inside, wanted)
            os.chown(name.inside, status.st_uid, status.st_gid)
        return name.inside

    def point(self, pid: int) -> None:
        """Let the link /proc/self, which is the same for all who do not ask, lead to *pid*."""
        with _as_root(), suppress(FileNotFoundError):
            with suppress(FileNotFoundError):
                os.unlink(b"/proc/self")
            os.symlink(b"%d" % pid, b"/proc/self")

    def _listing(self, name: Name) -> dict[bytes, tuple[int, bytes]]:
        """Name → mode and, of links, the target."""
        folder = os.open(name.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._outside[name.kind])
        try:
            names = [os.fsencode(item) for item in os.listdir(folder)]
            if name.kind == "proc" and name.path == b".":
                ours = {b"%d" % pid for pid in orphans.descendants(self._parent, folder)}
                names = [item for item in names if item in ours or not (item.isdigit() or item in HIDDEN)]
            found = {}
            for item in names:
                with suppress(OSError):  # ended meanwhile
                    mode = os.stat(item, dir_fd=folder, follow_symlinks=False).st_mode
                    found[item] = mode, os.readlink(item, dir_fd=folder) if stat.S_ISLNK(mode) else b""
            return found
        finally:
            os.close(folder)


def _write(place: bytes, wanted: Mapping[bytes, tuple[int, bytes]]) -> None:
    os.makedirs(place, exist_ok=True)
    present = set(os.listdir(place))
    for gone in present - wanted.keys():
        _remove(os.path.join(place, gone))
    for item, (mode, link) in wanted.items():
        _make(os.path.join(place, item), mode, link, item in present)


def _make(place: bytes, mode: int, link: bytes, present: bool) -> None:
    with suppress(FileExistsError):
        if stat.S_ISLNK(mode):
            if present:
                if os.path.islink(place) and os.readlink(place) == link:
                    return
                _remove(place)
            os.symlink(link, place)
        elif not present:
            if stat.S_ISDIR(mode):
                os.mkdir(place, 0o755)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444))


def _remove(place: bytes) -> None:
    try:
        os.unlink(place)
    except IsADirectoryError:
        for item in os.listdir(place):
            _remove(os.path.join(place, item))
        os.rmdir(place)


@contextmanager
def _as_root() -> Iterator[None]:
    """Meanwhile we are root, whose the root's own /proc is."""
    uid, gid = os.geteuid(), os.getegid()
    os.seteuid(0)
    os.setegid(0)
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)
