"""A container's default profile without a container: Docker's capabilities, and the calls that its profile refuses.

For tests that look at processes and folders from outside while something runs; the real thing is in ``containers``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from worlds.building import Bench

_REFUSING = """\
import os, struct, sys
sys.path.insert(0, sys.argv.pop(1))
from builder.sandbox.command import DEFAULT_CAPABILITIES
from native import constants, syscalls
from native.constants import CAPABILITIES, CLONE_NEWNS, CLONE_NEWUSER, NUMBERS
load, equal, any_bit, end = 0x20, 0x15, 0x45, 0x06
refused, unknown = constants.SECCOMP_RET_ERRNO | 1, constants.SECCOMP_RET_ERRNO | 38
# mount, umount2, unshare; and what the profile of Docker 20.10 adds: process_vm_readv, process_vm_writev
numbers = {"x86_64": (165, 166, 272, 310, 311), "aarch64": (40, 39, 97, 270, 271)}[os.uname().machine]
steps = [(load, 0, 0, 0), (equal, 0, 3, NUMBERS[os.uname().machine]["clone"]), (load, 0, 0, 16)]
steps += [(any_bit, 0, 1, CLONE_NEWUSER | CLONE_NEWNS), (end, 0, 0, refused), (load, 0, 0, 0)]
for number, answer in (*((number, refused) for number in numbers), (435, unknown)):
    steps += [(equal, 0, 1, number), (end, 0, 0, answer)]
steps.append((end, 0, 0, constants.SECCOMP_RET_ALLOW))
syscalls.seccomp(b"".join(struct.pack("=HBBI", *step) for step in steps))
kept = sum(1 << CAPABILITIES[name] for name in DEFAULT_CAPABILITIES)
with open("/proc/sys/kernel/cap_last_cap") as last:
    for number in range(int(last.read()) + 1):
        if not kept >> number & 1:
            syscalls.prctl(constants.PR_CAPBSET_DROP, number)
syscalls.capset(effective=kept, permitted=kept, inheritable=0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def refusing() -> tuple[str, ...]:
    """Words that start what follows them in such a place."""
    checkout = str(Path(__file__).resolve().parents[2])
    return (sys.executable, "-c", _REFUSING, checkout)


def jailed(bench: Bench) -> Bench:
    """Root's *bench* as a container's root has it: no namespace, no mount."""
    launch = (*refusing(), *bench.pybuild.launch)
    return replace(bench, pybuild=replace(bench.pybuild, launch=launch))
