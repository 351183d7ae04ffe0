"""Whether the kernel killed for want of memory: as our own control group counts it, else as the machine does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")


class Kills(NamedTuple):
    """Processes killed so far. *own* is None where our control group is not to be seen.

    reached   how often a command's own limit was, without enough to be freed
    """

    own: int | None
    machine: int
    reached: int = 0

    def since(self, before: Kills) -> str:
        """Where one was killed since *before*: ``limit``, ``group``, ``machine`` (nobody tells whose it was), or ""."""
        if self.own is not None and before.own is not None:
            killed = "limit" if self.reached > before.reached else "group"
            return killed if self.own > before.own else ""
        return "machine" if self.machine > before.machine else ""


def kills(group: str = "") -> Kills:
    """What the kernel counted until now. Readable for everybody, where it is mounted.

    group   folder of the command's control group, if it has one
    """
    machine = _number(Path("/proc/vmstat")) or 0
    if not group:
        return Kills(_own(), machine)
    # Without a limit of memory the group has no such file, and is counted with the one above it that has.
    files = (folder / "memory.events" for folder in (Path(group), *Path(group).parents))
    own = next((found for file in files if (found := _number(file)) is not None), None)
    return Kills(own, machine, _number(Path(group) / "memory.events", "oom") or 0)


def _own() -> int | None:
    """Of our group. source: linux, admin-guide/cgroup-v2.rst, "memory.events"; cgroup-v1/memory.rst, "oom_control"."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    for line in groups.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, file = _CGROUP, "memory.events"
        elif "memory" in controllers.split(","):
            top, file = _CGROUP / "memory", "memory.oom_control"
        else:
            continue
        # A container that has no cgroup namespace sees the host's path, and its own group in the mount's top.
        for folder in (top / path.lstrip("/"), top):
            found = _number(folder / file)
            if found is not None:
                return found
    return None


def _number(file: Path, name: str = "oom_kill") -> int | None:
    """The number in *file*'s line *name*."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None  # the folder is not mounted here, or not readable; the root group has no such file
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
