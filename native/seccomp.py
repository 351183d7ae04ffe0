"""Filters of system calls, as values, and as the BPF programs that the kernel runs.

A command in the sandbox may not make the calls that Docker's default profile refuses. That profile is a list of what is
allowed; this is the same said the other way round: what it leaves out, so that the table is short and what a new kernel
adds is answered as unknown.

source   moby/profiles, seccomp/default.json (which calls, unlocked by which capability); seccomp(2)
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from native import constants, syscalls

# name, number on x86_64, i386, aarch64 and arm (-1: has none), capabilities any of which unlocks it.
# source: asm/unistd_64.h, asm/unistd_32.h, asm-generic/unistd.h; linux, arch/arm/tools/syscall.tbl
REFUSED: tuple[tuple[str, int, int, int, int, str], ...] = (
    ("mount", 165, 21, 40, 21, "SYS_ADMIN"),
    ("umount", -1, 22, -1, -1, "SYS_ADMIN"),
    ("umount2", 166, 52, 39, 52, "SYS_ADMIN"),
    ("pivot_root", 155, 217, 41, 218, ""),
    ("fsopen", 430, 430, 430, 430, "SYS_ADMIN"),
    ("fsconfig", 431, 431, 431, 431, "SYS_ADMIN"),
    ("fsmount", 432, 432, 432, 432, "SYS_ADMIN"),
    ("fspick", 433, 433, 433, 433, "SYS_ADMIN"),
    ("move_mount", 429, 429, 429, 429, "SYS_ADMIN"),
    ("open_tree", 428, 428, 428, 428, "SYS_ADMIN"),
    ("mount_setattr", 442, 442, 442, 442, "SYS_ADMIN"),
    ("unshare", 272, 310, 97, 337, "SYS_ADMIN"),
    ("setns", 308, 346, 268, 375, "SYS_ADMIN"),
    ("sethostname", 170, 74, 161, 74, "SYS_ADMIN"),
    ("setdomainname", 171, 121, 162, 121, "SYS_ADMIN"),
    ("quotactl", 179, 131, 60, 131, "SYS_ADMIN"),
    ("quotactl_fd", 443, 443, 443, 443, "SYS_ADMIN"),
    ("bpf", 321, 357, 280, 386, "SYS_ADMIN BPF"),
    ("perf_event_open", 298, 336, 241, 364, "SYS_ADMIN PERFMON"),
    ("fanotify_init", 300, 338, 262, 367, "SYS_ADMIN"),
    ("lookup_dcookie", 212, 253, 18, 249, "SYS_ADMIN"),
    ("syslog", 103, 103, 116, 103, "SYS_ADMIN SYSLOG"),
    ("swapon", 167, 87, 224, 87, ""),
    ("swapoff", 168, 115, 225, 115, ""),
    ("sysfs", 139, 135, -1, 135, ""),
    ("ustat", 136, 62, -1, 62, ""),
    ("uselib", 134, 86, -1, 86, ""),
    ("_sysctl", 156, 149, -1, 149, ""),
    ("nfsservctl", 180, 169, 42, 169, ""),
    ("create_module", 174, 127, -1, -1, ""),
    ("get_kernel_syms", 177, 130, -1, -1, ""),
    ("query_module", 178, 167, -1, -1, ""),
    ("init_module", 175, 128, 105, 128, "SYS_MODULE"),
    ("finit_module", 313, 350, 273, 379, "SYS_MODULE"),
    ("delete_module", 176, 129, 106, 129, "SYS_MODULE"),
    ("kexec_load", 246, 283, 104, 347, ""),
    ("kexec_file_load", 320, -1, 294, 401, ""),
    ("reboot", 169, 88, 142, 88, "SYS_BOOT"),
    ("acct", 163, 51, 89, 51, "SYS_PACCT"),
    ("ioperm", 173, 101, -1, -1, "SYS_RAWIO"),
    ("iopl", 172, 110, -1, -1, "SYS_RAWIO"),
    ("vm86", -1, 166, -1, -1, ""),
    ("vm86old", -1, 113, -1, -1, ""),
    ("settimeofday", 164, 79, 170, 79, "SYS_TIME"),
    ("stime", -1, 25, -1, -1, "SYS_TIME"),
    ("clock_settime", 227, 264, 112, 262, "SYS_TIME"),
    ("clock_settime64", -1, 404, -1, 404, "SYS_TIME"),
    ("vhangup", 153, 111, 58, 111, "SYS_TTY_CONFIG"),
    ("get_mempolicy", 239, 275, 236, 320, "SYS_NICE"),
    ("set_mempolicy", 238, 276, 237, 321, "SYS_NICE"),
    ("set_mempolicy_home_node", 450, 450, 450, 450, "SYS_NICE"),
    ("mbind", 237, 274, 235, 319, "SYS_NICE"),
    ("migrate_pages", 256, 294, 238, 400, ""),
    ("move_pages", 279, 317, 239, 344, ""),
    ("kcmp", 312, 349, 272, 378, "SYS_PTRACE"),
    ("pidfd_getfd", 438, 438, 438, 438, "SYS_PTRACE"),
    ("process_madvise", 440, 440, 440, 440, "SYS_PTRACE"),
    ("open_by_handle_at", 304, 342, 265, 371, "DAC_READ_SEARCH"),
    ("add_key", 248, 286, 217, 309, ""),
    ("request_key", 249, 287, 218, 310, ""),
    ("keyctl", 250, 288, 219, 311, ""),
    ("userfaultfd", 323, 374, 282, 388, ""),
    ("io_uring_setup", 425, 425, 425, 425, ""),
    ("io_uring_enter", 426, 426, 426, 426, ""),
    ("io_uring_register", 427, 427, 427, 427, ""),
)

CLONE3 = 435
NEWEST = 466
"""The last call that the table was made with (removexattrat); the same number on all four."""

_X32_BIT = 0x40000000
_ARM_PRIVATE = 0x0F0000  # cacheflush, set_tls: arm's own calls lie beyond all others
_NEW_NAMESPACES = (
    constants.CLONE_NEWNS
    | constants.CLONE_NEWCGROUP
    | constants.CLONE_NEWUTS
    | constants.CLONE_NEWIPC
    | constants.CLONE_NEWUSER
    | constants.CLONE_NEWPID
    | constants.CLONE_NEWNET
)
# Personalities that only change what a program sees of itself: Linux, 32 bits, no address randomisation, and the query.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# AF_ALG and AF_VSOCK reach past the namespaces: into the kernel's ciphers and to the hypervisor.
_SOCKET_FAMILIES = (38, 40)


@dataclass(frozen=True, slots=True)
class Abi:
    """One of the calling conventions that a machine's kernel answers.

    column   of ``REFUSED``
    clone, personality, socket   numbers of the calls whose first argument is looked at
    mknod, mknodat, renameat2    of those that can make a whiteout; -1: has none
    """

    audit: int
    column: int
    clone: int
    personality: int
    socket: int
    mknod: int
    mknodat: int
    renameat2: int


_X86_64 = Abi(constants.AUDIT_ARCH_X86_64, 1, 56, 135, 41, 133, 259, 316)
_I386 = Abi(constants.AUDIT_ARCH_I386, 2, 120, 136, 359, 14, 297, 353)
_AARCH64 = Abi(constants.AUDIT_ARCH_AARCH64, 3, 220, 92, 198, -1, 33, 276)
_ARM = Abi(constants.AUDIT_ARCH_ARM, 4, 120, 136, 281, 14, 324, 382)
ABIS = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


# struct seccomp_data: the call's number, the architecture, the low half of the first argument (both are little-endian).
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54

_ALLOW = constants.SECCOMP_RET_ALLOW
_DENY = constants.SECCOMP_RET_ERRNO | errno.EPERM
_INVALID = constants.SECCOMP_RET_ERRNO | errno.EINVAL
_UNKNOWN = constants.SECCOMP_RET_ERRNO | errno.ENOSYS


@dataclass(frozen=True, slots=True)
class _Test:
    """One comparison, and the answer if it holds; else the next."""

    code: int
    value: int
    answer: int


def default_filter(capabilities: Iterable[str], machine: str | None = None) -> bytes:
    """The program for a command that holds *capabilities* (``CAP_…``): struct sock_filter, one after the other.

    It answers EPERM to what is refused, and ENOSYS to clone3, whose flags lie in memory that a filter cannot read (so
    libc falls back on clone), and to calls newer than the table. An architecture beyond the machine's two kills.
    """
    held = frozenset(capabilities)
    program = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for abi in ABIS[machine or os.uname().machine]:
        block = _block(abi, held)
        # A conditional jump spans 255 instructions at most, so an unconditional one leads past the block.
        program += [(_EQUAL, 1, 0, abi.audit), (0x05, 0, 0, len(block)), *block]
    program.append((_RETURN, 0, 0, constants.SECCOMP_RET_KILL_PROCESS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(program: bytes) -> None:
    """Filter this thread and all that it starts. Needs CAP_SYS_ADMIN, or no_new_privs. raises OSError."""
    syscalls.seccomp(program)


def _block(abi: Abi, held: frozenset[str]) -> list[tuple[int, int, int, int]]:
    tests = [_Test(_AT_LEAST, _X32_BIT, _UNKNOWN)] if abi is _X86_64 else []
    # No kernel that distributions ship answers x32; this one does not either.
    if abi is _ARM:
        tests.append(_Test(_AT_LEAST, _ARM_PRIVATE, _ALLOW))
    tests.append(_Test(_AT_LEAST, NEWEST + 1, _UNKNOWN))
    for row in REFUSED:
        number, unlocking = int(row[abi.column]), row[5].split()
        if number != -1 and held.isdisjoint(f"CAP_{name}" for name in unlocking):
            tests.append(_Test(_EQUAL, number, _DENY))
    arguments = [
        (abi.personality, [_Test(_EQUAL, value, _ALLOW) for value in _PERSONALITIES], _DENY),
        (abi.socket, [_Test(_EQUAL, family, _DENY) for family in _SOCKET_FAMILIES], _ALLOW),
    ]
    if "CAP_SYS_ADMIN" not in held:
        tests.append(_Test(_EQUAL, CLONE3, _UNKNOWN))
        arguments.append((abi.clone, [_Test(_ANY_BIT, _NEW_NAMESPACES, _DENY)], _ALLOW))
    answers = (_ALLOW, _DENY, _UNKNOWN)
    body: list[tuple[int, int, int, int]] = []
    returns = [(_RETURN, 0, 0, answer) for answer in answers]
    looked_at = [_argument_block(*argument) for argument in arguments] + _no_whiteouts(abi)
    length = 1 + len(tests) + sum(map(len, looked_at))
    body.append((_LOAD, 0, 0, _NUMBER))
    for test in tests:
        distance = length - len(body) - 1 + answers.index(test.answer)
        body.append((test.code, distance, 0, test.value))
    for block in looked_at:
        body += block
    return body + returns


def _argument_block(number: int, tests: list[_Test], otherwise: int) -> list[tuple[int, int, int, int]]:
    """Instructions that decide call *number* by its first argument, and are skipped, the number kept, for others."""
    inside: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _FIRST)]
    for test in tests:
        inside += [(test.code, 0, 1, test.value), (_RETURN, 0, 0, test.answer)]
    inside.append((_RETURN, 0, 0, otherwise))
    return [(_EQUAL, 0, len(inside), number), *inside]


def _no_whiteouts(abi: Abi) -> list[list[tuple[int, int, int, int]]]:
    """Blocks that refuse a character device 0:0, as an overlay does: in a layer it would be a file's deletion.

    Where the root is a copy anybody may make one. source: overlayfs.rst, "whiteouts and opaque directories"
    """
    blocks: list[list[tuple[int, int, int, int]]] = []
    for number, mode in ((abi.mknod, 1), (abi.mknodat, 2)):
        inside = [
            *((_LOAD, 0, 0, _FIRST + 8 * mode), (_AND, 0, 0, 0o170000), (_EQUAL, 0, 2, stat.S_IFCHR)),
            *((_LOAD, 0, 0, _FIRST + 8 * (mode + 1)), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ALLOW)),
            (_RETURN, 0, 0, _DENY),
        ]
        if number >= 0:
            blocks.append([(_EQUAL, 0, len(inside), number), *inside])
    flags = [(_LOAD, 0, 0, _FIRST + 8 * 4), (_ANY_BIT, 1, 0, constants.RENAME_WHITEOUT), (_RETURN, 0, 0, _ALLOW)]
    flags.append((_RETURN, 0, 0, _INVALID))
    return [*blocks, [(_EQUAL, 0, len(flags), abi.renameat2), *flags]]
