"""Filters that ask, run by an interpreter of the BPF instructions that they are made of."""

from __future__ import annotations

import struct

import pytest

from builder.sandbox.supervision.filters import Supervision, watches
from native import constants, notified
from native.notified import CALLS, Watch, program

ASK, ALLOW = constants.SECCOMP_RET_USER_NOTIF, constants.SECCOMP_RET_ALLOW
X86_64, I386 = constants.AUDIT_ARCH_X86_64, constants.AUDIT_ARCH_I386
AARCH64, ARM = constants.AUDIT_ARCH_AARCH64, constants.AUDIT_ARCH_ARM
UNCHANGED = 0xFFFFFFFF
SUBID = Supervision(mark=(65536, 65536), single=False)
ONE = Supervision(mark=(0, 0), single=True)


def answer(filter_: bytes, architecture: int, number: int, *arguments: int) -> int:
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", filter_))
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
def subid() -> bytes:
    return program(watches(SUBID), "x86_64")


@pytest.fixture(scope="module")
def one() -> bytes:
    return program(watches(ONE), "x86_64")


def test_ids_within_the_map_ask_nobody(subid):
    chown, fchownat = CALLS["chown"][0], CALLS["fchownat"][0]
    assert answer(subid, X86_64, chown, 1, 33, 33) == ALLOW
    assert answer(subid, X86_64, chown, 1, UNCHANGED, 65535) == ALLOW
    assert answer(subid, X86_64, chown, 1, UNCHANGED, UNCHANGED) == ALLOW
    assert answer(subid, X86_64, chown, 1, (1 << 64) - 1, 5) == ALLOW
    assert answer(subid, X86_64, fchownat, 3, 1, 33, 33) == ALLOW


def test_ids_beyond_it_do(subid):
    for name, first in (("chown", 1), ("lchown", 1), ("fchown", 1), ("fchownat", 2)):
        for owner in ((65536, 0), (0, 65536), (UNCHANGED, 70000), (4294967294, UNCHANGED)):
            assert answer(subid, X86_64, CALLS[name][0], *[1] * first, *owner) == ASK
            if CALLS[name][1] > 0:
                assert answer(subid, I386, CALLS[name][1], *[1] * first, *owner) == ASK


def test_only_devices_ask_when_nodes_are_made(subid):
    mknod, mknodat = CALLS["mknod"][0], CALLS["mknodat"][0]
    assert answer(subid, X86_64, mknod, 1, 0o010644) == ALLOW
    assert answer(subid, X86_64, mknod, 1, 0o140644) == ALLOW
    assert answer(subid, X86_64, mknod, 1, 0o100644) == ALLOW
    assert answer(subid, X86_64, mknod, 1, 0o020644, 259) == ASK
    assert answer(subid, X86_64, mknodat, 3, 1, 0o060644, 259) == ASK


def test_nothing_else_asks_where_ids_are_mapped(subid):
    quiet = {number for name, (number, *_) in CALLS.items() if name not in {watch.call for watch in watches(SUBID)}} - {
        -1
    }
    assert {answer(subid, X86_64, number, 1, 0o102, 0o102) for number in (0, 1, 9, 60, *quiet)} == {ALLOW}


def test_with_one_id_every_change_of_owner_and_identity_asks(one):
    assert answer(one, X86_64, CALLS["chown"][0], 1, 0, 0) == ASK
    for name in ("setuid", "setgroups", "getuid", "getresgid", "capset", "newfstatat", "statx", "execve", "mkdir"):
        assert answer(one, X86_64, CALLS[name][0], 1, 1, 1) == ASK


def test_with_one_id_only_files_that_are_made_ask_when_opened(one):
    openat = CALLS["openat"][0]
    assert answer(one, X86_64, openat, 1, 2, 0o2000000) == ALLOW
    assert answer(one, X86_64, openat, 1, 2, 0o101) == ASK
    assert answer(one, X86_64, openat, 1, 2, 0o20200002) == ASK


def test_only_the_limit_that_carries_the_credentials_asks(one):
    assert answer(one, X86_64, CALLS["prlimit64"][0], 0, 7, 1) == ALLOW
    assert answer(one, X86_64, CALLS["prlimit64"][0], 0, 10, 1) == ASK


def test_arm_has_its_own_numbers():
    arm = program([Watch("fchownat", ids=((2, 65536),))], "aarch64")
    assert answer(arm, AARCH64, CALLS["fchownat"][2], 1, 1, 70000) == ASK
    assert answer(arm, ARM, CALLS["fchownat"][3], 1, 1, 70000) == ASK
    assert answer(arm, AARCH64, CALLS["fchownat"][0], 1, 1, 70000) == ALLOW
    assert notified.numbers("aarch64")[AARCH64, 54] == "fchownat"


def test_another_machines_calls_are_not_ours():
    assert answer(program([Watch("getuid")], "x86_64"), AARCH64, CALLS["getuid"][0]) == ALLOW
