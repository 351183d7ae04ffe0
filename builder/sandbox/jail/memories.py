"""The memory of other processes, read and written through /proc: where profiles refuse process_vm_readv(2).

source   proc_pid_mem(5); moby/profiles, seccomp/default.json of before Linux 4.8, which wants CAP_SYS_PTRACE for it
"""

from __future__ import annotations

import errno
import os

_KEPT = 200
_LONGEST = 4096


class Memories:
    """Descriptors of the memories of processes, the latest few kept. For one thread.

    proc   a descriptor of a /proc that has our own numbers
    """

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self._open: dict[int, int] = {}

    def text(self, pid: int, address: int) -> bytes:
        """The string at *address*, a path. raises OSError: EFAULT; ENAMETOOLONG beyond 4095 bytes."""
        found, nul, _ = self.read(pid, address, _LONGEST).partition(b"\0")
        if not nul:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return found

    def read(self, pid: int, address: int, size: int) -> bytes:
        """At most *size* bytes at *address*."""
        # A descriptor stays with the address space that it was opened of: after an execve(2) it reads nothing.
        for fresh in (False, True):
            data = os.pread(self._descriptor(pid, fresh=fresh), size, address)
            if data:
                return data
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def write(self, pid: int, address: int, data: bytes) -> None:
        """Write *data* at *address*, right after a read of the same process."""
        if os.pwrite(self._descriptor(pid, fresh=False), data, address) != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def forget(self, pid: int) -> None:
        """The process is about to have another memory. What it shared with another (vfork(2)) would still be read."""
        known = self._open.pop(pid, None)
        if known is not None:
            os.close(known)

    def _descriptor(self, pid: int, *, fresh: bool) -> int:
        known = self._open.get(pid)
        if known is not None:
            if not fresh:
                return known
            os.close(self._open.pop(pid))
        elif len(self._open) >= _KEPT:
            for fd in self._open.values():
                os.close(fd)
            self._open.clear()
        found = self._open[pid] = os.open(f"{pid}/mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._proc)
        return found
