"""The default filter, run by an interpreter of the five BPF instructions that it is made of."""

import errno
import struct

import pytest

from builder.sandbox.command import DEFAULT_CAPABILITIES
from native import constants
from native.seccomp import default_filter

ALLOW = constants.SECCOMP_RET_ALLOW
EPERM = constants.SECCOMP_RET_ERRNO | errno.EPERM
EINVAL = constants.SECCOMP_RET_ERRNO | errno.EINVAL
ENOSYS = constants.SECCOMP_RET_ERRNO | errno.ENOSYS
X86_64, I386 = constants.AUDIT_ARCH_X86_64, constants.AUDIT_ARCH_I386
AARCH64, ARM = constants.AUDIT_ARCH_AARCH64, constants.AUDIT_ARCH_ARM


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return value
        elif code == 0x05:
            at += value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if holds else no


@pytest.fixture(scope="module")
def x86() -> bytes:
    return default_filter(DEFAULT_CAPABILITIES, "x86_64")


@pytest.fixture(scope="module")
def arm() -> bytes:
    return default_filter(DEFAULT_CAPABILITIES, "aarch64")


def test_ordinary_calls_are_allowed(x86, arm):
    assert {answer(x86, X86_64, number) for number in (0, 1, 2, 59, 101, 257, 439, 462)} == {ALLOW}
    assert {answer(x86, I386, number) for number in (3, 4, 5, 11, 26, 102)} == {ALLOW}
    assert {answer(arm, AARCH64, number) for number in (56, 63, 64, 117, 221)} == {ALLOW}
    assert {answer(arm, ARM, number) for number in (3, 4, 11, 26)} == {ALLOW}


def test_mounting_and_namespaces_are_refused_in_every_calling_convention(x86, arm):
    for mount, umount, unshare, program, architecture in (
        (165, 166, 272, x86, X86_64),
        (21, 52, 310, x86, I386),
        (40, 39, 97, arm, AARCH64),
        (21, 52, 337, arm, ARM),
    ):
        assert [answer(program, architecture, n) for n in (mount, umount, unshare)] == [EPERM] * 3


def test_clone_is_allowed_without_new_namespaces_and_refused_with_one(x86, arm):
    for number, program, architecture in ((56, x86, X86_64), (120, x86, I386), (220, arm, AARCH64), (120, arm, ARM)):
        assert answer(program, architecture, number, 0x01200011) == ALLOW
        assert answer(program, architecture, number, 0x10000011) == EPERM
        assert answer(program, architecture, number, 0x02000011) == EPERM


def test_clone3_and_calls_newer_than_the_table_are_unknown(x86, arm):
    assert answer(x86, X86_64, 435) == answer(arm, AARCH64, 435) == ENOSYS
    assert answer(x86, X86_64, 467) == answer(x86, I386, 467) == answer(arm, AARCH64, 467) == ENOSYS


def test_arms_own_calls_beyond_the_table_are_allowed(arm):
    assert answer(arm, ARM, 0x0F0005) == ALLOW


def test_x32_is_unknown(x86):
    assert answer(x86, X86_64, 0x40000000) == ENOSYS


def test_only_harmless_personalities_may_be_taken(x86):
    assert [answer(x86, X86_64, 135, p) for p in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)] == [ALLOW] * 5
    assert [answer(x86, X86_64, 135, p) for p in (0x40000, 0x0400000, 1)] == [EPERM] * 3


def test_sockets_that_reach_past_the_namespaces_are_refused(x86):
    assert [answer(x86, X86_64, 41, family) for family in (1, 2, 10, 16, 39)] == [ALLOW] * 5
    assert [answer(x86, X86_64, 41, family) for family in (38, 40)] == [EPERM] * 2


def test_what_would_be_a_whiteout_in_a_layer_is_refused_as_by_an_overlay(x86, arm):
    character, block, regular = 0o020644, 0o060644, 0o100644
    for program, architecture, mknod, mknodat, renameat2 in (
        (x86, X86_64, 133, 259, 316),
        (x86, I386, 14, 297, 353),
        (arm, AARCH64, None, 33, 276),
        (arm, ARM, 14, 324, 382),
    ):
        for number, first in ((mknod, (0,)), (mknodat, (0xFFFFFF9C, 0))):
            if number is not None:
                assert answer(program, architecture, number, *first, character, 0) == EPERM
                assert answer(program, architecture, number, *first, character, 0x103) == ALLOW
                assert answer(program, architecture, number, *first, block, 0) == ALLOW
                assert answer(program, architecture, number, *first, regular, 0) == ALLOW
        for flags, expected in ((0, ALLOW), (1, ALLOW), (2, ALLOW), (4, EINVAL), (5, EINVAL)):
            assert answer(program, architecture, renameat2, 0, 0, 0, 0, flags) == expected


def test_a_capability_unlocks_what_it_is_for():
    program = default_filter((*DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN"), "x86_64")
    assert [answer(program, X86_64, n) for n in (165, 272, 321, 435)] == [ALLOW] * 4
    assert answer(program, X86_64, 56, 0x10000011) == ALLOW
    assert answer(program, X86_64, 246) == EPERM


def test_another_machines_call_kills(x86, arm):
    assert answer(x86, AARCH64, 0) == answer(arm, X86_64, 0) == constants.SECCOMP_RET_KILL_PROCESS
