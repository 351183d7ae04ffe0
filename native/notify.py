"""Calls that another process answers: seccomp's user notification.

A filter that says USER_NOTIF of a call stops the caller; whoever holds the filter's listener learns of the call, and
answers it, or lets the kernel go on with it. What is read of the caller's memory may change before the kernel looks, so
this emulates, and keeps nobody from anything.

source   seccomp_unotify(2); linux/seccomp.h; process_vm_readv(2)
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress

from native import constants, syscalls

_RECEIVED = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_ADDED = struct.Struct("=QIIII")
_EMPTY = bytes(_RECEIVED.size)

Notification = tuple[int, int, int, int, int, int, int, int, int, int, int, int]
"""(id, process id, flags, call number, architecture, instruction pointer, six arguments), all as unsigned numbers."""


def listen(program: bytes) -> int:
    """Filter this thread and all that it starts, and return the filter's listener, a descriptor.

    raises   OSError: EBUSY if an outer filter has a listener already; EINVAL on a kernel before 5.0
    """
    wanted = constants.SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:
        # A signal must not restart a call that was answered by making something. Since Linux 5.19.
        return syscalls.seccomp(program, wanted | constants.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return syscalls.seccomp(program, wanted)


class Listener:
    """A listener, received from whoever made it. For one thread."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = bytearray(_RECEIVED.size)
        # Caller and supervisor never run at once: on one processor none of them has to be woken from idling. Linux 6.6.
        with suppress(OSError):
            fcntl.ioctl(fd, constants.SECCOMP_IOCTL_NOTIF_SET_FLAGS, constants.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)

    def receive(self) -> Notification | None:
        """The next call; None if its caller was gone again before we looked. Waits."""
        # The kernel wants it empty.
        self._buffer[:] = _EMPTY
        try:
            fcntl.ioctl(self.fd, constants.SECCOMP_IOCTL_NOTIF_RECV, self._buffer)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT):
                return None
            raise
        return _RECEIVED.unpack(self._buffer)

    def answer(self, identifier: int, value: int) -> None:
        """Let the call return *value*."""
        self._send(identifier, value, 0, 0)

    def fail(self, identifier: int, number: int) -> None:
        """Let the call fail with the error *number*."""
        self._send(identifier, 0, -number, 0)

    def go_on(self, identifier: int) -> None:
        """Let the kernel do the call as if nobody had asked."""
        self._send(identifier, 0, 0, constants.SECCOMP_USER_NOTIF_FLAG_CONTINUE)

    def give(self, identifier: int, fd: int, *, close_on_exec: bool) -> None:
        """Let the call return a new descriptor of what *fd* is. Since Linux 5.14. raises OSError."""
        flags = os.O_CLOEXEC if close_on_exec else 0
        added = _ADDED.pack(identifier, constants.SECCOMP_ADDFD_FLAG_SEND, fd, 0, flags)
        fcntl.ioctl(self.fd, constants.SECCOMP_IOCTL_NOTIF_ADDFD, added)

    def _send(self, identifier: int, value: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.fd, constants.SECCOMP_IOCTL_NOTIF_SEND, _ANSWER.pack(identifier, value, error, flags))
        except OSError as failure:
            if failure.errno not in (errno.ENOENT, errno.EINPROGRESS):  # killed, or interrupted, meanwhile
                raise
