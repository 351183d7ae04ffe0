"""The process that made a call: its memory, and names by which its files are ours too.

The supervisor has the command's root, and its working folder is a /proc: a path of the caller's that begins with "/"
is taken as it is, any other begins with ``<pid>/cwd`` or ``<pid>/fd/<n>``, links of /proc that lead straight to what
the caller has open. So each file costs one call, and no descriptor.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from builder.sandbox.supervision.memories import Memories
from native import constants, syscalls

AT_FDCWD = constants.AT_FDCWD & 0xFFFFFFFF
# What means the caller in its own /proc would mean us, or nobody, in it.
_OWN = re.compile(rb"/+proc/+(?:self|thread-self(?=/+fd(?:/|$)))(?=/|$)")
_STREAMS = re.compile(rb"/+dev/+(?:fd/+(\d+)|std(in|out|err))$")
_STREAM = {b"in": b"0", b"out": b"1", b"err": b"2"}

_MOST_LINKS = 40  # path_resolution(7): MAXSYMLINKS
_PATH_MAX = 4096  # linux/limits.h
_PIDFD_THREAD = os.O_EXCL  # linux/pidfd.h; since Linux 6.9

Place = tuple[bytes, bool]
"""A path for us, and whether a link at its end is followed."""


class Proc:
    """The /proc that callers are found in: one with our own numbers where a new one is granted, else the one around.

    fd   its root's descriptor
    """

    def __init__(self) -> None:
        self._same = True
        self._depth = 0
        try:
            context = syscalls.fsopen("proc")
            try:
                syscalls.fsconfig(context, constants.FSCONFIG_CMD_CREATE)
                self.fd = syscalls.fsmount(context)
            finally:
                os.close(context)
        except OSError:
            # A container's masked /proc is the best that there is; its numbers are those of a namespace further out.
            self.fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._same = False
            self._depth = len(_numbers(b"/proc/self/status", b"NSpid:")) - 1

    def numbers(self, folder: bytes, field: bytes = b"NSpid:") -> list[int]:
        """The ids of a process from the outermost namespace of this /proc inwards."""
        return _numbers(folder + b"/status", field)

    def ours(self, folder: bytes, field: bytes) -> int:
        """Of those the one in our own namespace; 0 if there is none."""
        found = self.numbers(folder, field)
        return found[self._depth] if len(found) > self._depth else 0

    def folder(self, pid: int) -> bytes:
        """The name, in this /proc, of the process that we know as *pid*. raises OSError, ESRCH."""
        return b"%d" % pid if self._same else self._translated(pid)

    def _translated(self, pid: int) -> bytes:
        """A process descriptor tells the number that it has in the /proc in which one looks. source: pidfd_open(2)."""
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            process = os.pidfd_open(pid, _PIDFD_THREAD)
        try:
            with open(b"self/fdinfo/%d" % process, "rb", buffering=0) as info:
                number = next(line.split()[1] for line in info.read(4096).split(b"\n") if line.startswith(b"Pid:"))
        finally:
            os.close(process)
        if int(number) <= 0:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        return number


def _numbers(path: bytes, field: bytes) -> list[int]:
    """source: proc_pid_status(5), NSpid and NStgid."""
    try:
        with open(path, "rb") as status:
            for line in status:
                if line.startswith(field):
                    return [int(word) for word in line.split()[1:]]
    except OSError:
        pass  # gone meanwhile
    return []


class Caller:
    """Whoever made the call at hand. One object serves all calls, one after the other.

    identifier, pid   as the notification has them
    root   a descriptor of the command's root, which is ours
    """

    def __init__(self, proc: Proc, root: int) -> None:
        self.identifier = self.pid = 0
        self._proc = proc
        self._root = root
        self._memories = Memories(proc.fd, proc.folder)
        self._held: list[int] = []
        self.chroots = False
        """Whether any process may have another root."""

    @property
    def _folder(self) -> bytes:
        return self._proc.folder(self.pid)

    def text(self, address: int) -> bytes:
        """The string at *address*."""
        return self._memories.text(self.pid, address)

    def read(self, address: int, size: int) -> bytes:
        """*size* bytes at *address*."""
        parts = []
        while size > 0:
            part = self._memories.read(self.pid, address, size)
            parts.append(part)
            address, size = address + len(part), size - len(part)
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Write *data* at *address*."""
        for start in range(0, len(data), 4096):
            self._memories.write(self.pid, address + start, data[start : start + 4096])

    def open(self, number: int) -> Place:
        """What the caller has open as *number*, or its working folder."""
        number &= 0xFFFFFFFF
        return (b"%b/cwd" % self._folder if number == AT_FDCWD else b"%b/fd/%d" % (self._folder, number)), True

    def at(self, folder: int, address: int, *, follow: bool = True, empty: bool = False) -> Place:
        """The path at *address*, from the open *folder* on; *empty*: none means the folder itself, AT_EMPTY_PATH."""
        path = self.text(address) if address or not empty else b""
        if not path:
            if not empty:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            return self.open(folder)
        if not path.startswith(b"/"):
            return self._shortened(b"%b/%b" % (self.open(folder)[0], path)), follow
        if path.startswith((b"/proc", b"/dev", b"//")):
            path = self._own(path)
        return path, follow

    def _shortened(self, path: bytes) -> bytes:
        """*path* by a name that the kernel takes: the caller's own may already be as long as any can be."""
        if len(path) < _PATH_MAX:
            return path
        cut = path.rindex(b"/", 0, _PATH_MAX // 2)
        # A call names two files at the most.
        if len(self._held) == 2:
            os.close(self._held.pop(0))
        self._held.append(os.open(path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return b"self/fd/%d/%b" % (self._held[-1], path[cut:].lstrip(b"/"))

    def stream_behind(self, place: Place) -> Place | None:
        """What the caller has open where a link leads to, as logs do to /dev/stdout: for us it leads to nothing."""
        path, follow = place
        for _ in range(_MOST_LINKS if follow else 0):
            try:
                path = os.path.join(os.path.dirname(path), os.readlink(path))
            except OSError:
                return None
            own = self._own(os.path.normpath(path))
            if own != os.path.normpath(path):
                return own, True
        return None

    def _own(self, path: bytes) -> bytes:
        stream = _STREAMS.match(path)
        if stream:
            return b"%b/fd/%b" % (self._folder, stream[1] or _STREAM[stream[2]])
        return _OWN.sub(lambda _: self._folder, path, count=1)

    def status(self, field: bytes) -> bytes:
        """A field of the caller's status. source: proc_pid_status(5)."""
        with open(self._folder + b"/status", "rb") as status:
            for line in status:
                if line.startswith(field + b":"):
                    return line.split(b":", 1)[1].strip()
        return b"0"

    @property
    def group(self) -> int:
        """The id of the caller's process: the caller may be another thread of it."""
        # The ids of a status are the outer ones where the /proc is: ours are at the same place as in NSpid.
        return self._proc.ours(self._folder, b"NStgid:") or self.pid

    def number_of(self, pid: int) -> int:
        """What the process that we know as *pid* is called where it is itself; 0 if it is gone."""
        try:
            return (self._proc.numbers(self._proc.folder(pid)) or [0])[-1]
        except OSError:
            return 0

    @property
    def umask(self) -> int:
        """The caller's."""
        return int(self.status(b"Umask"), 8)

    def may(self, capability: str) -> bool:
        """Whether the caller holds a capability."""
        return bool(int(self.status(b"CapEff"), 16) >> constants.CAPABILITIES[capability] & 1)

    def in_memory(self, device: int) -> bool:
        """Whether *device*, an st_dev, is a memory file system of the caller's. source: proc_pid_mountinfo(5)."""
        number = b"%d:%d" % (os.major(device), os.minor(device))
        with open(self._folder + b"/mountinfo", "rb") as table:
            return any(line.split(b" ", 3)[2] == number and b" - tmpfs " in line for line in table)

    @contextmanager
    def its_root(self) -> Iterator[None]:
        """Meanwhile the caller's root is ours, if it has another one."""
        if not self.chroots or os.path.samestat(os.stat(self._folder + b"/root"), os.fstat(self._root)):
            yield
            return
        os.chroot(self._folder + b"/root")
        try:
            yield
        finally:
            self.come_back()

    def come_back(self) -> None:
        """Have the command's root, and /proc as our working folder."""
        os.fchdir(self._root)
        os.chroot(".")
        os.fchdir(self._proc.fd)
