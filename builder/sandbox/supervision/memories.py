"""The memory of other processes, read and written in the way that this place allows.

process_vm_readv(2) is one call, and some profiles refuse it (Docker's of before Linux 4.8's check, which its releases
up to 20.10 have, wants CAP_SYS_PTRACE for it). /proc/PID/mem is asked of the same rule about who may, but it heeds the
effective ids, which root without CAP_SYS_PTRACE can make those of the process. Nothing is kept open of it: a descriptor
stays with the memory that it was opened of, and a number may be another process's by the next call.

source   process_vm_readv(2); proc_pid_mem(5); ptrace(2), "Ptrace access mode checking"; moby/profiles
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from builder.errors import HostError
from native import syscalls

_LONGEST = 4096
_PAGE = os.sysconf("SC_PAGESIZE")
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_YAMA = "sys/kernel/yama/ptrace_scope"


class Memories:
    """For one thread.

    proc    a descriptor of a /proc;  name  what the process that we know by a number is called in it
    raises  HostError from all that reads or writes, if nobody's memory may be read on this machine
    """

    def __init__(self, proc: int, name: Callable[[int], bytes] = b"%d".__mod__) -> None:
        self._proc = proc
        self._name = name
        self._direct = _direct()
        self._closed = _setting(proc, _YAMA) == b"3"

    def text(self, pid: int, address: int) -> bytes:
        """The string at *address*, a path. raises OSError: EFAULT; ENAMETOOLONG beyond 4095 bytes."""
        found = b""
        while len(found) < _LONGEST:
            at = address + len(found)
            # A string may end where the memory does, so no read crosses a page.
            size = min(_PAGE - at % _PAGE, _LONGEST)
            part, nul, _ = self.read(pid, at, size).partition(b"\0")
            found += part
            if nul and len(found) < _LONGEST:
                return found
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def read(self, pid: int, address: int, size: int) -> bytes:
        """At most *size* bytes (4096 at the most) at *address*. raises OSError."""
        if self._direct is not None:
            try:
                return self._direct.read(pid, address, size)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
        fd = self._open(pid, os.O_RDONLY)
        try:
            data = os.pread(fd, min(size, _LONGEST), _offset(address))
        except OSError as error:
            raise _fault(error) from None
        finally:
            os.close(fd)
        if not data:  # nothing is mapped any more
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def write(self, pid: int, address: int, data: bytes) -> None:
        """Write *data* (4096 bytes at the most) at *address*. raises OSError, EFAULT if not all of it can be."""
        if self._direct is not None:
            try:
                return self._direct.write(pid, address, data)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
        # This way memory that the process itself may only read is written, too: nobody asks to be told there.
        fd = self._open(pid, os.O_RDWR)
        try:
            written = os.pwrite(fd, data, _offset(address))
        except OSError as error:
            raise _fault(error) from None
        finally:
            os.close(fd)
        if written != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return None

    def _open(self, pid: int, how: int) -> int:
        try:
            return os.open(self._name(pid) + b"/mem", how | os.O_CLOEXEC, dir_fd=self._proc)
        except PermissionError:
            if not self._closed:
                raise
            raise HostError(
                "no process's memory can be read: kernel.yama.ptrace_scope is 3",
                code="no-supervisor",
                hint="it can be changed by restarting the machine only: set it to 2 or less in /etc/sysctl.d",
            ) from None


def _direct() -> syscalls.Memory | None:
    """The direct way, if it is there: of ourselves everybody may read."""
    memory = syscalls.Memory()
    try:
        memory.read(os.getpid(), memory.address, 1)
    except OSError:
        return None
    return memory


def _offset(address: int) -> int:
    # pread(2) takes a signed number; where the sign would be nobody has memory.
    if address >= 1 << 63:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return address


def _fault(error: OSError) -> OSError:
    """What the kernel says of an address where nothing is: EIO here, EFAULT to whoever makes a call."""
    number = errno.EFAULT if error.errno == errno.EIO else error.errno or errno.EFAULT
    return OSError(number, os.strerror(number))


def _setting(proc: int, path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    except OSError:
        return None  # a kernel without it
    try:
        return os.read(fd, 64).strip()
    finally:
        os.close(fd)
