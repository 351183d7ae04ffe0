"""What is answered about /proc and /sys: a method for each call, done as the caller's user, so that the kernel decides.

Terminals are opened outside, too, and devices where none can be made. Whoever asks sees its own processes only.

source   proc(5); seccomp_unotify(2)
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NoReturn

from builder.errors import HostError
from builder.sandbox import orphans
from builder.sandbox.jail.procfolders import Folders
from builder.sandbox.jail.procnames import Name, meaning
from builder.sandbox.supervision.memories import Memories
from builder.sandbox.supervision.statuses import packed, packed_statx
from native import constants
from native.notify import Listener

ANSWERED = -1
"""What a handler gives that has answered itself; None: the kernel goes on."""
# What is opened is there already, and is to make nobody wait, nor become our terminal.
_NOT_TAKEN = os.O_CREAT | os.O_EXCL
_ADDED = os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_LINKS = 40
"""source: path_resolution(7), "The end": MAXSYMLINKS."""
_MOUNTS = {
    b"mounts": b"overlay / overlay rw 0 0\nproc /proc proc rw 0 0\ntmpfs /dev tmpfs rw 0 0\nsysfs /sys sysfs ro 0 0\n",
    b"mountinfo": b"1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw - proc proc rw\n"
    b"3 1 0:3 / /dev rw - tmpfs tmpfs rw\n4 1 0:4 / /sys ro - sysfs sysfs ro\n",
    b"mountstats": b"",
}


class Answers:
    """The calls: one ``on_`` method each, called with what the path means and the call's arguments from it on."""

    def __init__(self, listener: Listener, outside: Mapping[str, int], parent: int, about: tuple[bytes, ...]) -> None:
        self._listener = listener
        self._outside = outside
        self._proc = proc = outside["proc"]
        self._about = about
        self._parent = parent
        self._memories = Memories(proc)
        self._folders = Folders(self._outside, parent)
        self._pid = self._identifier = 0
        # What these say of a link is of the link itself.
        self._of_links = (self.on_lstat, self.on_readlink)

    def answer(
        self, handler: Callable[..., int | None], identifier: int, pid: int, arguments: list[int], at: int
    ) -> int | None:
        """What the call returns; None: the kernel goes on with it. raises OSError, which is the call's."""
        try:
            path = self._memories.text(pid, arguments[at])
        except OSError:
            try:
                with self._as(pid):
                    path = self._memories.text(pid, arguments[at])
            except OSError:
                return None  # the kernel says it better
        except HostError:
            return None  # nobody's memory can be read here: /proc stays an empty folder
        linked = not path.startswith(self._about)
        if linked:
            led = None if handler in self._of_links else self._led(path, pid)
            if led is None:
                return None
            path = led
        name = meaning(path, self._group(pid), pid)
        if name is None:
            return None
        if linked:
            name = replace(name, link=True)
        if name.pid and name.pid != pid and not self._is_ours(name.pid):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._pid, self._identifier = pid, identifier
        with self._as(pid):
            return handler(name, *arguments[at + 1 :])

    def _led(self, path: bytes, pid: int) -> bytes | None:
        """Where a link at the end of *path* leads, if that is one of ours: logs of servers lead to /dev/stdout."""
        for _ in range(_MOST_LINKS):
            try:
                target = self._link(path, pid)
            except OSError:
                return None  # none, or nothing that the kernel would not say better
            path = posixpath.join(posixpath.dirname(path), target)
            # From a relative path upwards means the tree's own top at the latest: no folder below it is ours.
            normal = posixpath.normpath(path)
            if normal.startswith(self._about):
                return normal
        return None

    def _link(self, path: bytes, pid: int) -> bytes:
        if path.startswith(b"/"):
            return os.readlink(path)
        here = b"%d/cwd/%b" % (pid, path)
        try:
            return os.readlink(here, dir_fd=self._proc)
        except PermissionError:
            with self._as(pid):
                return os.readlink(here, dir_fd=self._proc)

    # Whose

    def _status(self, pid: int, field: bytes) -> list[bytes]:
        fd = os.open(f"{pid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            for line in os.read(fd, 1 << 14).split(b"\n"):
                if line.startswith(field + b":"):
                    return line.split()[1:]
        finally:
            os.close(fd)
        return [b"0"]

    def _group(self, pid: int) -> int:
        try:
            return int(self._status(pid, b"Tgid")[0])
        except OSError:
            return pid

    def _is_ours(self, pid: int) -> bool:
        """Whether *pid* is below the command's parent, which we are."""
        while pid > 1:
            pid = orphans.parent_of(str(pid), self._proc)
            if pid == self._parent:
                return True
        return False

    @contextmanager
    def _as(self, pid: int) -> Iterator[None]:
        """Meanwhile we are the caller's user: only then do we see its files where root has no CAP_SYS_PTRACE."""
        uid, gid = int(self._status(pid, b"Uid")[1]), int(self._status(pid, b"Gid")[1])
        if (uid, gid) == (0, 0):
            yield
            return
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    # The calls

    def on_open(self, name: Name, flags: int, *_: int) -> int | None:
        """open(2)."""
        return self._open(name, flags)

    def on_openat(self, name: Name, flags: int, *_: int) -> int | None:
        """openat(2)."""
        return self._open(name, flags)

    def on_openat2(self, name: Name, how: int, *_: int) -> int | None:
        """openat2(2); how a path is to be resolved makes no difference here."""
        return self._open(name, int.from_bytes(self._memories.read(self._pid, how, 8), "little"))

    def on_stat(self, name: Name, buffer: int, *_: int) -> int | None:
        """stat(2)."""
        return self._tell(buffer, name, packed)

    def on_lstat(self, name: Name, buffer: int, *_: int) -> int | None:
        """lstat(2)."""
        return self._tell(buffer, name, packed, follow=False)

    def on_newfstatat(self, name: Name, buffer: int, flags: int, *_: int) -> int | None:
        """fstatat(2)."""
        return self._tell(buffer, name, packed, follow=not flags & constants.AT_SYMLINK_NOFOLLOW)

    def on_statx(self, name: Name, flags: int, _mask: int, buffer: int, *_: int) -> int | None:
        """statx(2)."""
        return self._tell(buffer, name, packed_statx, follow=not flags & constants.AT_SYMLINK_NOFOLLOW)

    def on_readlink(self, name: Name, buffer: int, size: int, *_: int) -> int | None:
        """readlink(2)."""
        if name.link:
            return None
        target = name.path if name.own else os.readlink(name.path, dir_fd=self._folder(name))
        target = target[: size & 0x7FFFFFFF]
        self._memories.write(self._pid, buffer, target)
        return len(target)

    on_readlinkat = on_readlink

    def on_access(self, name: Name, mode: int, *_: int) -> int | None:
        """access(2)."""
        status = self._stat(name, follow=True)
        if mode & os.W_OK and (name.kind == "sys" or name.path.startswith(b"sys/")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if name.kind == "mounts" or stat.S_ISDIR(status.st_mode):
            return 0
        if not os.access(name.path, mode & 7, dir_fd=self._folder(name), effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return 0

    on_faccessat = on_faccessat2 = on_access

    def on_chmod(self, name: Name, mode: int, *_: int) -> int:
        """chmod(2) of what is open: so does libc what it has no call for."""
        os.chmod(name.path, mode & 0o7777, dir_fd=self._folder(name))
        return 0

    on_fchmodat = on_chmod

    def on_getxattr(self, *_: object) -> NoReturn:
        """getxattr(2) and its like: these files have none."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    on_lgetxattr = on_listxattr = on_llistxattr = on_getxattr

    def on_chdir(self, name: Name, *_: int) -> None:
        """chdir(2): the kernel finds the names of the folder, in the root's own /proc."""
        self._show(name)

    def on_execve(self, name: Name, *_: int) -> None:
        """execve(2): the kernel finds the link to a program there."""
        self._show(name)

    on_execveat = on_execve

    # How

    def _folder(self, name: Name) -> int:
        return self._outside[name.kind]

    def _show(self, name: Name) -> None:
        if name.pid:
            self._folders.show(Name("proc", b"%d" % name.pid, name.pid))
            self._folders.point(name.pid)
        with suppress(OSError):
            if name.kind != "mounts" and stat.S_ISDIR(self._stat(name, follow=True).st_mode):
                self._folders.show(name)

    def _stat(self, name: Name, *, follow: bool) -> os.stat_result:
        if name.kind == "mounts":
            return os.stat(b"%d/mounts" % self._group(self._pid), dir_fd=self._proc)
        status = os.stat(name.path, dir_fd=self._folder(name), follow_symlinks=follow and not name.own)
        if name.own and not follow:
            return os.stat(b"self", dir_fd=self._proc, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and self._folders.is_one(name, status):
            return os.stat(self._folders.show(name))
        return status

    def _tell(
        self, buffer: int, name: Name, pack: Callable[[os.stat_result], bytes], *, follow: bool = True
    ) -> int | None:
        if name.link and not follow:
            return None
        self._memories.write(self._pid, buffer, pack(self._stat(name, follow=follow)))
        return 0

    def _open(self, name: Name, flags: int) -> int | None:
        if flags & _NOT_TAKEN == _NOT_TAKEN:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if name.kind == "mounts":
            return self._give(_made(_MOUNTS[name.path]), flags)
        if name.link and flags & os.O_NOFOLLOW:
            return None
        if flags & os.O_NOFOLLOW and not flags & os.O_PATH and name.own:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        folder = self._folder(name)
        status = os.stat(name.path, dir_fd=folder)
        if stat.S_ISDIR(status.st_mode) and self._folders.is_one(name, status):
            return self._give(os.open(self._folders.show(name), flags & ~_NOT_TAKEN | os.O_CLOEXEC), flags)
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        if writes and (name.kind == "sys" or (name.kind == "proc" and not name.pid)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        fd = os.open(name.path, flags & ~_NOT_TAKEN | _ADDED, dir_fd=folder)
        if not flags & (os.O_NONBLOCK | os.O_PATH):
            os.set_blocking(fd, True)
        return self._give(fd, flags)

    def _give(self, fd: int, flags: int) -> int:
        try:
            self._listener.give(self._identifier, fd, close_on_exec=bool(flags & os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.ENOENT:  # killed meanwhile
                raise
        finally:
            os.close(fd)
        return ANSWERED


def _made(content: bytes) -> int:
    """A file that holds *content*, to be read from its start."""
    fd = os.memfd_create("mounts", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
