"""Answers of the stat family, in the kernel's structures."""

from __future__ import annotations

import os
import struct

from builder.sandbox.supervision import statuses

STATUS = os.stat_result(
    (0o100640, 77, 2049, 3, 70000, 70001, 123456789012, 1, 2, 3),
    {
        "st_atime_ns": 1_000_000_001,
        "st_mtime_ns": -500_000_000,
        "st_ctime_ns": 3_000_000_003,
        "st_blksize": 4096,
        "st_blocks": 8,
        "st_rdev": os.makedev(7, 200),
    },
)


def test_the_structures_have_the_kernels_sizes():
    assert len(statuses._x86_64(STATUS)) == 144
    assert len(statuses._aarch64(STATUS)) == 128
    assert len(statuses._statx(STATUS)) == 256


def test_x86_64_fields_are_at_their_offsets():
    data = statuses._x86_64(STATUS)
    assert struct.unpack_from("=QQQIII", data) == (2049, 77, 3, 0o100640, 70000, 70001)
    assert struct.unpack_from("=QqqqqQqQqQ", data, 40) == (
        os.makedev(7, 200), 123456789012, 4096, 8, 1, 1, -1, 500_000_000, 3, 3
    )  # fmt: skip


def test_aarch64_fields_are_at_their_offsets():
    data = statuses._aarch64(STATUS)
    assert struct.unpack_from("=QQIIIIQ", data) == (2049, 77, 0o100640, 3, 70000, 70001, os.makedev(7, 200))
    assert struct.unpack_from("=qi", data, 48) == (123456789012, 4096)
    assert struct.unpack_from("=qqQqQqQ", data, 64) == (8, 1, 1, -1, 500_000_000, 3, 3)


def test_statx_fields_are_at_their_offsets():
    data = statuses._statx(STATUS)
    assert struct.unpack_from("=IIQIIIH", data) == (0x7FF, 4096, 0, 3, 70000, 70001, 0o100640)
    assert struct.unpack_from("=QQQ", data, 32) == (77, 123456789012, 8)
    assert struct.unpack_from("=qI", data, 64) == (1, 1)
    assert struct.unpack_from("=qI", data, 96) == (3, 3)
    assert struct.unpack_from("=qI", data, 112) == (-1, 500_000_000)
    assert struct.unpack_from("=IIII", data, 128) == (7, 200, 8, 1)
