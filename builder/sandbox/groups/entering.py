"""How a process enters a control group.

clone3(2) can make a process in a group, but some containers' profiles refuse that call. So a process enters by itself,
before it becomes the command: by a descriptor, since it no longer sees the folder then, and does not hold its rights.
"""

from __future__ import annotations

import os


def entrance(folder: str) -> int:
    """A descriptor by which a process enters the group *folder*, once it can no longer be seen; -1 for no group."""
    return os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) if folder else -1


def enter(descriptor: int) -> None:
    """Enter the group whose ``entrance`` this is, and close it."""
    if descriptor >= 0:
        os.write(descriptor, b"0")  # the process that writes
        os.close(descriptor)
