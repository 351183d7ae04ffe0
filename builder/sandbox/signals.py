"""SIGINT and SIGTERM while processes are made, and while something runs inside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held() -> Iterator[None]:
    """No SIGINT or SIGTERM for this while: in a new process the old one's handler would raise into the old one's code.

    The new process sets its own handlers, and lets them come itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Terminated(BaseException):
    """SIGTERM came while something was inside."""


@contextmanager
def sigterm_as_exception() -> Iterator[None]:
    """SIGTERM, where nobody handles it, first ends what is inside, then us as it always does."""
    try:
        previous = signal.getsignal(signal.SIGTERM)
        if previous is not signal.SIG_DFL:
            yield
            return

        def terminated(*_: object) -> None:
            raise _Terminated

        try:
            signal.signal(signal.SIGTERM, terminated)
        except ValueError:  # another thread than the main one cannot handle signals
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except _Terminated:
        os.kill(os.getpid(), signal.SIGTERM)
        raise
