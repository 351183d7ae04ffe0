"""A place that refuses system calls: a seccomp filter for this process and all that come from it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from native import constants, seccomp, syscalls

# source: asm/unistd_64.h, asm-generic/unistd.h
_NUMBERS = {
    "x86_64": {
        "copy_file_range": 326,
        "fsopen": 430,
        "ioctl": 16,
        "lsetxattr": 189,
        "mknod": 133,
        "mknodat": 259,
        "mount": 165,
        "setxattr": 188,
    },
    "aarch64": {
        "copy_file_range": 285,
        "fsopen": 430,
        "ioctl": 29,
        "lsetxattr": 6,
        "mknodat": 33,
        "mount": 40,
        "setxattr": 5,
    },
}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse(calls: Iterable[str], number: int) -> None:
    """From now on *calls* fail with the error *number* here. source: seccomp(2)"""
    known = _NUMBERS[os.uname().machine]
    program = [(_LOAD, 0, 0, 0)]
    for call in calls:
        if call in known:
            program += [(_EQUAL, 0, 1, known[call]), (_RETURN, 0, 0, _ERRNO | number)]
    program.append((_RETURN, 0, 0, _ALLOW))
    syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(b"".join(struct.pack("=HBBI", *step) for step in program))
