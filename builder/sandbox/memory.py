"""Whether the kernel killed for want of memory, as our own control group counts it."""

from __future__ import annotations

from pathlib import Path


def kills() -> int:
    """Processes of our control group killed so far because memory ran out; 0 where nobody tells.

    source   linux, Documentation/admin-guide/cgroup-v2.rst, "memory.events"; cgroup-v1/memory.rst, "oom_control"
    """
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return 0
    for line in groups.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            file = Path(f"/sys/fs/cgroup{path}/memory.events")
        elif "memory" in controllers.split(","):
            file = Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        else:
            continue
        for word in _words(file):
            if word[0] == "oom_kill":
                return int(word[1])
    return 0


def _words(file: Path) -> list[list[str]]:
    try:
        return [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return []  # the folder is not mounted here, or not readable
