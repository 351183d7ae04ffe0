"""A place that refuses system calls: a seccomp filter for a process and all that come from it.

A call is named ``mount``, or ``clone(CLONE_NEWUSER)`` where it is refused for such flags only, in its first argument
(mount's in its fourth; prctl's and seccomp's first argument is to be equal).
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from native import constants, notified, seccomp, syscalls
from worlds.building import Bench
from worlds.people import Person

# Beside those of the product's own tables. source: asm/unistd_64.h, asm-generic/unistd.h
_NUMBERS = {
    "x86_64": {
        "copy_file_range": 326,
        "fsetxattr": 190,
        "ioctl": 16,
        "lsetxattr": 189,
        "memfd_create": 319,
        "pidfd_open": 434,
        "setxattr": 188,
        "clone3": 435,
    },
    "aarch64": {
        "copy_file_range": 285,
        "fsetxattr": 7,
        "ioctl": 29,
        "lsetxattr": 6,
        "memfd_create": 279,
        "pidfd_open": 434,
        "setxattr": 5,
        "clone3": 435,
    },
}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CALL = re.compile(r"(\w+)(?:\((\w+)\))?")
_AS_SOMEBODY = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from native import constants, syscalls
uid, gid = int(sys.argv[3]), int(sys.argv[4])
if uid:
    # A filter without no_new_privs, so that newuidmap keeps its rights, wants a capability: it goes with execve(2).
    syscalls.prctl(constants.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    able = 1 << constants.CAPABILITIES["CAP_SYS_ADMIN"]
    syscalls.capset(effective=able, permitted=able, inheritable=0)
syscalls.seccomp(bytes.fromhex(sys.argv[2]))
os.execv(sys.argv[5], sys.argv[5:])
"""


def refuse(calls: Iterable[str], number: int) -> None:
    """From now on *calls* fail with the error *number* here. source: seccomp(2)"""
    syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(_program(calls, number))


def refusing(bench: Bench, calls: Iterable[str], number: int) -> Bench:
    """*bench*, whoever's, in a place where *calls* fail. Wants whoever runs the tests to be root."""
    checkout = str(Path(__file__).resolve().parents[2])
    person = bench.pybuild.person
    launch = (sys.executable, "-P", "-c", _AS_SOMEBODY, checkout, _program(calls, number).hex())
    launch = (*launch, str(person.uid), str(person.gid), *bench.pybuild.launch)
    starter = Person(name=person.name, uid=os.geteuid(), gid=os.getegid(), home=person.home)
    return replace(bench, pybuild=replace(bench.pybuild, person=starter, launch=launch))


def _program(calls: Iterable[str], number: int) -> bytes:
    program = [(_LOAD, 0, 0, 0)]
    for call in calls:
        found = _CALL.fullmatch(call)
        assert found is not None, call
        name, flag = found.groups()
        if (known := _number(name)) is None:
            continue
        refusal = (_RETURN, 0, 0, _ERRNO | number)
        if flag is None:
            body = [refusal]
        else:
            argument = 3 if name == "mount" else 0
            test = _EQUAL if name in ("prctl", "seccomp") else _ANY_BIT
            value = getattr(constants, flag)
            body = [(_LOAD, 0, 0, 16 + 8 * argument), (test, 0, 1, value), refusal, (_LOAD, 0, 0, 0)]
        program += [(_EQUAL, 0, len(body), known), *body]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _number(name: str) -> int | None:
    """The call's number on this machine, which may not have it: aarch64 has no mknod."""
    machine = os.uname().machine
    column = {"x86_64": 0, "aarch64": 2}[machine]
    for table in (_NUMBERS[machine], constants.NUMBERS[machine]):
        if name in table:
            return table[name]
    refused = {row[0]: row[1:5] for row in seccomp.REFUSED}
    number = notified.CALLS[name][column] if name in notified.CALLS else refused[name][column]
    return number if number >= 0 else None
