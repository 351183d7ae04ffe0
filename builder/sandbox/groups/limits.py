"""What a command may use, as docker's options say it, and as the files of its control group do."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_PERIOD = 100_000
"""Microseconds. source: Linux, admin-guide/cgroup-v2.rst, "cpu.max"."""

_OPTIONS = {
    "memory": "--memory",
    "memory_reservation": "--memory-reservation",
    "cpu_shares": "--cpu-shares",
    "cpu_period": "--cpu-period",
    "cpu_quota": "--cpu-quota",
    "cpuset_cpus": "--cpuset-cpus",
    "cpuset_mems": "--cpuset-mems",
    "pids": "--pids-limit",
    "parent": "--cgroup-parent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one command; what is 0 or "" is not limited.

    memory             bytes;  memory_reservation  bytes that are left to it while others want memory
    memory_swap        bytes of memory and swap together; -1: as much swap as there is; 0: twice ``memory``
    cpu_shares         2 to 262,144, by which processors are shared among those who want them; 1,024 is usual
    cpu_quota          microseconds in each ``cpu_period``, 0: ``DEFAULT_PERIOD``
    cpuset_cpus, cpuset_mems   processors and memory nodes: ``0-2,4``
    pids               processes and threads
    parent             path of the control group below which the command's is made; "": one is looked for
    """

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int = 0
    parent: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options that ask for something."""
        return tuple(option for name, option in _OPTIONS.items() if getattr(self, name))

    @property
    def controllers(self) -> frozenset[str]:
        """The kernel's controllers that are needed: ``memory``, ``cpu``, ``cpuset``, ``pids``."""
        return frozenset(name.partition(".")[0] for name, _ in self.files())

    def files(self) -> tuple[tuple[str, str], ...]:
        """What is to be written into which file of the group.

        source   opencontainers/cgroups, fs2 (memory.go, cpu.go, cpuset.go, pids.go): what runc makes of docker's terms
        """
        found = []
        if self.memory:
            # moby, daemon_unix.go, adaptContainerSettings: memory and swap together are by default twice the memory.
            both = self.memory_swap or 2 * self.memory
            found.append(("memory.max", str(self.memory)))
            found.append(("memory.swap.max", "max" if both < 0 else str(both - self.memory)))
        if self.memory_reservation:
            found.append(("memory.low", str(self.memory_reservation)))
        if self.cpu_shares:
            found.append(("cpu.weight", str(weight(self.cpu_shares))))
        if self.cpu_quota or self.cpu_period:
            quota = str(self.cpu_quota) if self.cpu_quota > 0 else "max"
            found.append(("cpu.max", f"{quota} {self.cpu_period or DEFAULT_PERIOD}"))
        if self.cpuset_cpus:
            found.append(("cpuset.cpus", self.cpuset_cpus))
        if self.cpuset_mems:
            found.append(("cpuset.mems", self.cpuset_mems))
        if self.pids:
            found.append(("pids.max", str(self.pids)))
        return tuple(found)


def weight(shares: int) -> int:
    """``cpu.shares`` of version 1 as ``cpu.weight`` of version 2: the least, the usual and the most are each other's.

    source   opencontainers/cgroups, utils.go, ConvertCPUSharesToCgroupV2Value (since 0.0.3; before, 1,024 was 39)
    """
    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def numbers(text: str) -> frozenset[int]:
    """The numbers of a list as the kernel and docker write it: ``0-2,4``; ValueError if it is none.

    source   Linux, admin-guide/cgroup-v2.rst, "cpuset.cpus"; moby, pkg/parsers, ParseUintList
    """
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.partition("-")
        if not first.isascii() or not first.isdecimal() or (dash and not (last.isascii() and last.isdecimal())):
            raise ValueError(text)
        low, high = int(first), int(last or first)
        # The bound is docker's: more are not counted one by one.
        if low > high or high > 8192:
            raise ValueError(text)
        found.update(range(low, high + 1))
    return frozenset(found)
