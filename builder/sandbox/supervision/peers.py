"""The supervised call that asks who is at the other end of a socket, where ids of processes are emulated.

source   unix(7), SO_PEERCRED; PostgreSQL's "peer" and D-Bus's "EXTERNAL" authentication rest on it
"""

from __future__ import annotations

import os
import socket
import struct

from builder.sandbox.supervision.identities import Identities
from native import syscalls

_UCRED = struct.Struct("=iII")


class Peers:
    """The call: a method as of ``Owning``."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._caller = identities.caller

    def _on_getsockopt(self, fd: int, level: int, _option: int, value: int, length: int, *_: int) -> int | None:
        if level != socket.SOL_SOCKET:
            return None
        try:
            peer = self._peer(fd & 0xFFFFFFFF)
            (room,) = struct.unpack("=I", self._caller.read(length, 4))
        except OSError:
            return None  # no socket, or not ours to look at: the kernel tells
        if peer <= 0 or room < _UCRED.size:
            return None
        # Who it is now, though the kernel keeps who it was when it connected: few change in between.
        who = self._identities.of(peer)
        number = self._caller.number_of(peer)
        self._caller.write(value, _UCRED.pack(number, who.users.effective, who.primary.effective))
        self._caller.write(length, struct.pack("=I", _UCRED.size))
        return 0

    def _peer(self, fd: int) -> int:
        """The process at the other end, by our number; 0 if there is none."""
        process = os.pidfd_open(self._caller.group)
        try:
            with socket.socket(fileno=syscalls.pidfd_getfd(process, fd)) as end:
                pid, _, _ = _UCRED.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        finally:
            os.close(process)
        return int(pid)
