"""Filters that ask a supervisor about some calls and allow all others, as values and as BPF programs.

source   seccomp_unotify(2); numbers: asm/unistd_64.h, asm/unistd_32.h, asm-generic/unistd.h; linux, arch/arm/tools
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from native import constants
from native.seccomp import ABIS

# name → number on x86_64, i386, aarch64 and arm; -1: has none, or libc there calls another
CALLS: Mapping[str, tuple[int, int, int, int]] = {
    "chown": (92, 212, -1, 212),
    "fchown": (93, 207, 55, 207),
    "lchown": (94, 198, -1, 198),
    "fchownat": (260, 298, 54, 325),
    "mknod": (133, 14, -1, 14),
    "mknodat": (259, 297, 33, 324),
    "setuid": (105, 213, 146, 213),
    "setgid": (106, 214, 144, 214),
    "setreuid": (113, 203, 145, 203),
    "setregid": (114, 204, 143, 204),
    "setresuid": (117, 208, 147, 208),
    "setresgid": (119, 210, 149, 210),
    "setfsuid": (122, 215, 151, 215),
    "setfsgid": (123, 216, 152, 216),
    "setgroups": (116, 206, 159, 206),
    "getuid": (102, 199, 174, 199),
    "geteuid": (107, 201, 175, 201),
    "getgid": (104, 200, 176, 200),
    "getegid": (108, 202, 177, 202),
    "getresuid": (118, 209, 148, 209),
    "getresgid": (120, 211, 150, 211),
    "getgroups": (115, 205, 158, 205),
    "prctl": (157, 172, 167, 172),
    "setrlimit": (160, 75, 164, 75),
    "prlimit64": (302, 340, 261, 369),
    "getsockopt": (55, 365, 209, 295),
    "capset": (126, 185, 91, 185),
    "stat": (4, -1, -1, -1),
    "fstat": (5, -1, 80, -1),
    "lstat": (6, -1, -1, -1),
    "newfstatat": (262, -1, 79, -1),
    "statx": (332, 383, 291, 397),
    "stat64": (-1, 195, -1, 195),
    "lstat64": (-1, 196, -1, 196),
    "fstat64": (-1, 197, -1, 197),
    "fstatat64": (-1, 300, -1, 327),
    "open": (2, 5, -1, 5),
    "openat2": (437, 437, 437, 437),
    "readlink": (89, 85, -1, 85),
    "readlinkat": (267, 305, 78, 332),
    "access": (21, 33, -1, 33),
    "faccessat": (269, 307, 48, 334),
    "faccessat2": (439, 439, 439, 439),
    "getxattr": (191, 229, 8, 229),
    "lgetxattr": (192, 230, 9, 230),
    "listxattr": (194, 232, 11, 232),
    "llistxattr": (195, 233, 12, 233),
    "chmod": (90, 15, -1, 15),
    "fchmodat": (268, 306, 53, 333),
    "chdir": (80, 12, 49, 12),
    "creat": (85, 8, -1, 8),
    "openat": (257, 295, 56, 322),
    "mkdir": (83, 39, -1, 39),
    "mkdirat": (258, 296, 34, 323),
    "symlink": (88, 83, -1, 83),
    "symlinkat": (266, 304, 36, 331),
    "rename": (82, 38, -1, 38),
    "renameat": (264, 302, 38, 329),
    "renameat2": (316, 353, 276, 382),
    "link": (86, 9, -1, 9),
    "linkat": (265, 303, 37, 330),
    "chroot": (161, 61, 51, 61),
    "execve": (59, 11, 221, 11),
    "execveat": (322, 358, 281, 387),
}
# The same call under the name that the headers have on 32 bits.
HEADER_NAMES = {
    "chown": "chown32",
    "fchown": "fchown32",
    "lchown": "lchown32",
    "setuid": "setuid32",
    "setgid": "setgid32",
    "setreuid": "setreuid32",
    "setregid": "setregid32",
    "setresuid": "setresuid32",
    "setresgid": "setresgid32",
    "setfsuid": "setfsuid32",
    "setfsgid": "setfsgid32",
    "setgroups": "setgroups32",
    "getuid": "getuid32",
    "geteuid": "geteuid32",
    "getgid": "getgid32",
    "getegid": "getegid32",
    "getresuid": "getresuid32",
    "getresgid": "getresgid32",
    "getgroups": "getgroups32",
}

_UNCHANGED = 0xFFFFFFFF
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06, 0x54
_ASK = (_RETURN, 0, 0, constants.SECCOMP_RET_USER_NOTIF)
_ALLOW = (_RETURN, 0, 0, constants.SECCOMP_RET_ALLOW)

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Watch:
    """A call to ask about; if more is said, only where one of its arguments is such.

    ids     (argument, least): an id from *least* on, and not "leave it"
    bits    (argument, mask): any of these bits
    device  the argument that is a mode of a character or block device
    equal   (argument, value)
    """

    call: str
    ids: tuple[tuple[int, int], ...] = ()
    bits: tuple[int, int] | None = None
    device: int | None = None
    equal: tuple[int, int] | None = None


def program(watches: Sequence[Watch], machine: str | None = None) -> bytes:
    """The program, struct sock_filter one after the other, for both calling conventions of the *machine*."""
    steps: list[Instruction] = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for abi in ABIS[machine or os.uname().machine]:
        block: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
        for watch in watches:
            number = CALLS[watch.call][abi.column - 1]
            if number >= 0:
                body = _body(watch)
                block += [(_EQUAL, 0, len(body), number), *body]
        block.append(_ALLOW)
        steps += [(_EQUAL, 1, 0, abi.audit), (_JUMP, 0, 0, len(block)), *block]
    steps.append(_ALLOW)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _body(watch: Watch) -> list[Instruction]:
    """Instructions that end the program."""
    if not watch.ids and watch.bits is None and watch.device is None and watch.equal is None:
        return [_ASK]
    steps: list[Instruction] = []
    for argument, least in watch.ids:
        steps += [_load(argument), (_EQUAL, 2, 0, _UNCHANGED), (_AT_LEAST, 0, 1, least), _ASK]
    if watch.bits is not None:
        steps += [_load(watch.bits[0]), (_ANY_BIT, 0, 1, watch.bits[1]), _ASK]
    if watch.device is not None:
        steps += [_load(watch.device), (_AND, 0, 0, 0o170000)]
        steps += [(_EQUAL, 1, 0, stat.S_IFCHR), (_EQUAL, 0, 1, stat.S_IFBLK), _ASK]
    if watch.equal is not None:
        steps += [_load(watch.equal[0]), (_EQUAL, 0, 1, watch.equal[1]), _ASK]
    return [*steps, _ALLOW]


def _load(argument: int) -> Instruction:
    # The low half: ids, modes and flags are 32 bits wide, and both machines are little-endian.
    return _LOAD, 0, 0, _FIRST + 8 * argument


def numbers(machine: str | None = None) -> dict[tuple[int, int], str]:
    """(architecture, number) → the call's name, as a notification tells it."""
    return {
        (abi.audit, row[abi.column - 1]): name
        for abi in ABIS[machine or os.uname().machine]
        for name, row in CALLS.items()
        if row[abi.column - 1] >= 0
    }
