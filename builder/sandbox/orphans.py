"""All that a process has started, directly or not, ended without a pid namespace.

A process that adopts gets those whose parent has died as its own children, daemons too: so nobody below it is lost.

source   prctl(2), PR_SET_CHILD_SUBREAPER; proc_pid_stat(5)
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from native import constants, syscalls


def adopt() -> None:
    """Become the parent of all orphans below this process."""
    syscalls.prctl(constants.PR_SET_CHILD_SUBREAPER, 1)


def end(grace: float = 0.0) -> None:
    """Kill all below this process and reap them; when it returns none is left.

    grace   seconds in which they may end by themselves first
    """
    until = time.monotonic() + grace
    while _reaped():
        if time.monotonic() >= until:
            break
        time.sleep(0.005)
    pause = 0.0
    while _reaped():
        # One that forks while we look is found at the next look; stopped ones fork no more.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in descendants(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(pause)
        pause = min(pause + 0.001, 0.02)


def _reaped() -> bool:
    """Reap those that have ended; whether any child is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def descendants(ancestor: int, folder: int | None = None) -> list[int]:
    """Ids of all processes below *ancestor*, as far as /proc shows them. *folder*: as ``parent_of`` has it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc" if folder is None else folder):
        if name.isdecimal() and (parent := parent_of(name, folder)):
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def parent_of(name: str, folder: int | None = None) -> int:
    """The id of a process's parent; 0 if it is gone. *folder*: an open /proc, else the one at its usual place."""
    try:
        fd = os.open(f"{name}/stat" if folder is not None else f"/proc/{name}/stat", os.O_RDONLY, dir_fd=folder)
    except OSError:
        return 0
    try:
        # The name in parentheses may hold anything, parentheses too.
        return int(os.read(fd, 4096).rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0
    finally:
        os.close(fd)
