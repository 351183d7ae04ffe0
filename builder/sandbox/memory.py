"""Whether the kernel killed for want of memory: as our own control group counts it, else as the machine does."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")


class Kills(NamedTuple):
    """Processes killed so far. *own* is None where our control group is not to be seen."""

    own: int | None
    machine: int

    def since(self, before: Kills) -> str:
        """Whose process was killed since *before*: ``group``, ``machine`` (nobody tells whose it was), or ""."""
        if self.own is not None and before.own is not None:
            return "group" if self.own > before.own else ""
        return "machine" if self.machine > before.machine else ""


def kills() -> Kills:
    """What the kernel counted until now. Readable for everybody, where it is mounted."""
    return Kills(_own(), _number(Path("/proc/vmstat")) or 0)


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


def _number(file: Path) -> int | None:
    """The number in *file*'s line ``oom_kill``."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None  # the folder is not mounted here, or not readable; the root group has no such file
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
