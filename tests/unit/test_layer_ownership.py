"""What is recorded of owners and devices, and what is told of them."""

from __future__ import annotations

import os
import stat

from hypothesis import given
from hypothesis import strategies as st

from builder.layer.ownership import Ids, Record, as_told, decode, encode, told_status

IDS = st.integers(0, (1 << 32) - 2)
SUBID = Ids(((0, 65537),), ((0, 65537),))
ONE = Ids(((0, 1),), ((0, 1),))


def status(mode: int, uid: int, gid: int, size: int = 0) -> os.stat_result:
    return os.stat_result((mode, 11, 12, 1, uid, gid, size, 1, 2, 3), {"st_rdev": 0})


@given(uid=IDS, gid=IDS, held_uid=IDS, held_gid=IDS)
def test_a_record_is_read_as_it_was_written(uid, gid, held_uid, held_gid):
    record = Record(uid, gid, held_uid, held_gid)
    assert decode(encode(record)) == record


@given(kind=st.sampled_from((stat.S_IFCHR, stat.S_IFBLK)), major=st.integers(0, 4095), minor=st.integers(0, 1048575))
def test_so_is_a_device(kind, major, minor):
    record = Record(0, 6, 0, 0, kind, os.makedev(major, minor))
    assert decode(encode(record)) == record


def test_a_record_is_short_text():
    assert encode(Record(70000, 5, 65536, 5)) == b"70000:5 65536:5"
    assert encode(Record(0, 0, 0, 0, stat.S_IFCHR, os.makedev(1, 3))) == b"0:0 0:0 c 1:3"


@given(st.binary(max_size=40))
def test_whatever_else_is_no_record_or_a_whole_one(value):
    found = decode(value)
    assert found is None or decode(encode(found)) == found


def test_what_commands_write_there_themselves_is_no_record():
    for value in (b"", b"1:2", b"1:2 3", b"1:2 3:4 x 1:2", b"-1:2 3:4", b"1:2 3:4 c", b"99999999999:0 0:0", b"\xff"):
        assert decode(value) is None


def test_the_recorded_owner_is_told_as_long_as_nobody_gave_the_file_away():
    record = Record(70000, 70001, 65536, 65536)
    assert as_told(status(0o100644, 65536, 65536), record) == (0o100644, 70000, 70001, 0)
    assert as_told(status(0o100644, 7, 65536), record) == (0o100644, 7, 70001, 0)
    assert as_told(status(0o100644, 7, 7), record) == (0o100644, 7, 7, 0)


def test_a_device_has_the_permissions_of_the_file_that_stands_for_it():
    record = Record(0, 6, 0, 0, stat.S_IFBLK, os.makedev(7, 200))
    assert as_told(status(0o100640, 0, 0), record) == (stat.S_IFBLK | 0o640, 0, 6, os.makedev(7, 200))
    told = told_status(status(0o100640, 0, 0), record)
    assert stat.S_ISBLK(told.st_mode)
    assert (told.st_ino, told.st_dev, told.st_gid, told.st_rdev) == (11, 12, 6, os.makedev(7, 200))
    assert told.st_mtime == 2


def test_an_owner_that_was_noted_is_told():
    told = told_status(status(0o120777, 65536, 65536), None, (70000, 70001))
    assert (told.st_uid, told.st_gid) == (70000, 70001)


def test_ids_beyond_the_map_are_held_by_the_highest_one_in_it():
    assert SUBID.held(5, 70000) == (5, 65536)
    assert ONE.held(5, 0) == (0, 0)
    assert Ids(((0, 1000), (5000, 10)), ((0, 10),)).held(5005, 10) == (5005, 9)


def test_without_a_namespace_our_own_files_are_roots():
    own = Ids(((0, 4294967295),), ((0, 4294967295),), own=(1000, 100))
    assert own.held(0, 0) == own.held(33, 44) == (1000, 100)
    assert own.plain(1000, 100) == (0, 0)
    assert own.plain(5, 100) == (5, 0)
