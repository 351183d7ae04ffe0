"""A terminal for a command: a pseudo-terminal whose other side is the user's own.

The command's side must be read and written by the process that the user's terminal belongs to, which is the caller in
front of the gate; behind it another process group runs, and reading from there would stop it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def attached(source: int, sink: int) -> Iterator[int]:
    """A terminal to run a command on, for ``Runner.run``'s *stdin*; what is typed at *source* goes there, and so on.

    source, sink  the user's terminal, which passes every key on while this lasts, Ctrl-C too
    raises        OSError where no pseudo-terminal can be had
    """
    ours, theirs = os.openpty()
    stop_read, stop_write = os.pipe()
    _copy_size(source, theirs)
    before = termios.tcgetattr(source)

    def resized(_: int, __: FrameType | None) -> None:
        _copy_size(source, theirs)

    previous = signal.signal(signal.SIGWINCH, resized)
    relay = threading.Thread(target=_relay, args=(source, sink, ours, stop_read), daemon=True)
    try:
        tty.setraw(source)
        relay.start()
        yield theirs
    finally:
        os.write(stop_write, b"x")
        relay.join()
        termios.tcsetattr(source, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, previous)
        for fd in (ours, theirs, stop_read, stop_write):
            os.close(fd)


def _copy_size(source: int, target: int) -> None:
    """source: ioctl_tty(2), TIOCGWINSZ."""
    size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _relay(source: int, sink: int, ours: int, stop: int) -> None:
    poll = select.poll()
    for fd in (source, ours, stop):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        # The command's last words come before the end.
        if ours in ready:
            _write(sink, os.read(ours, 1 << 16))
        elif stop in ready:
            return
        if source in ready:
            data = os.read(source, 1 << 12)
            if data:
                _write(ours, data)
            else:
                poll.unregister(source)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
