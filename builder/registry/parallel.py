"""The same for many things at once, until the first failure."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
JOIN_SECONDS = 2.0


class Stopped(Exception):
    """Raised in a worker that should end because another failed, or because the caller was interrupted."""


def for_each(items: Iterable[_T], function: Callable[[_T, threading.Event], None], jobs: int) -> None:
    """Call *function* for each item, *jobs* at once; the event that it is given says that it should stop.

    The first error is raised once the others have stopped. The threads keep no process alive: one that waits for a
    slow server is left behind after JOIN_SECONDS.
    """
    waiting: queue.SimpleQueue[_T] = queue.SimpleQueue()
    count = 0
    for item in items:
        waiting.put(item)
        count += 1
    stop, errors = threading.Event(), list[BaseException]()

    def work() -> None:
        while not stop.is_set():
            try:
                function(waiting.get_nowait(), stop)
            except queue.Empty:
                return
            except BaseException as e:  # whatever it is, it is the caller's
                errors.append(e)
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, count))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.5)  # an interrupt gets in between
    finally:
        stop.set()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0))
    for error in errors:
        if not isinstance(error, Stopped):
            raise error
