"""A caller's SSH agent, for one command: a socket of the owner and mode that its mount asks for, and a relay.

source   BuildKit, session/sshforward: what is mounted is a socket of its own, never the caller's
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_PIECE = 64 << 10


@contextmanager
def relayed(agent: Path, place: Path, *, mode: int, uid: int, gid: int) -> Iterator[Path]:
    """A socket at *place* that leads to *agent* until the block ends."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        # A path may be longer than sun_path's 108 bytes (unix(7)); its folder's descriptor is not.
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{place.name}")
        finally:
            os.close(folder)
        stack.callback(place.unlink)
        os.chown(place, uid, gid)
        os.chmod(place, mode)
        listener.listen()
        stop, wake = socket.socketpair()
        stack.callback(stop.close)
        thread = threading.Thread(target=_serve, args=(listener, stop, agent), name="ssh-agent")
        thread.start()
        stack.callback(thread.join)
        stack.callback(wake.close)
        yield place


def _serve(listener: socket.socket, stop: socket.socket, agent: Path) -> None:
    """Join each caller with a connection of its own, until *stop* ends."""
    peers: dict[socket.socket, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(stop, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                ready = key.fileobj
                if ready is stop:
                    for end in peers:
                        end.close()
                    return
                if ready is listener:
                    _join(listener, agent, peers, selector)
                elif isinstance(ready, socket.socket) and ready in peers:
                    _pass_on(ready, peers, selector)


def _join(
    listener: socket.socket, agent: Path, peers: dict[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    caller, _ = listener.accept()
    answer = socket.socket(socket.AF_UNIX)
    try:
        answer.connect(str(agent))
    except OSError:
        # The agent has gone: its caller sees the connection end, as with the agent itself.
        caller.close()
        answer.close()
        return
    for one, other in ((caller, answer), (answer, caller)):
        peers[one] = other
        selector.register(one, selectors.EVENT_READ)


def _pass_on(ready: socket.socket, peers: dict[socket.socket, socket.socket], selector: selectors.BaseSelector) -> None:
    other = peers[ready]
    try:
        data = ready.recv(_PIECE)
        if data:
            other.sendall(data)
            return
    except OSError:
        pass  # either end has gone: so does the other
    for end in (ready, other):
        selector.unregister(end)
        del peers[end]
        end.close()
