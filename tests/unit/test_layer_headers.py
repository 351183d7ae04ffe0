"""Tar headers: what we write is what others read, and what we read is what others wrote."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.layer.headers import END, header
from builder.layer.reader import Reader


def by_tarfile(data: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(data + END)) as tar:
        info = tar.next()
        assert info is not None
        return info


def by_us(data: bytes):
    with Reader(io.BytesIO(data)) as reader:
        return list(reader)


def test_a_short_name_needs_one_block() -> None:
    block = header(b"etc/motd", b"0", mode=0o100644, uid=1, gid=2, size=0, mtime=5)
    assert len(block) == 512
    info = by_tarfile(block)
    assert (info.name, info.mode, info.uid, info.gid, info.mtime, info.type) == ("etc/motd", 0o644, 1, 2, 5, b"0")


def test_a_long_name_that_can_be_cut_at_a_slash_needs_one_block() -> None:
    name = b"/".join([b"n" * 60] * 3)
    assert len(header(name, b"0")) == 512
    assert by_tarfile(header(name, b"0")).name == name.decode()


@pytest.mark.parametrize("name", [b"n" * 101, b"n" * 255, b"/".join([b"x" * 200] * 3), "naïve".encode(), b"\xff\xfe"])
def test_other_names_are_told_in_a_pax_record(name: bytes) -> None:
    data = header(name, b"0")
    assert len(data) == 1536 or len(name) > 512
    assert by_tarfile(data).name == os.fsdecode(name)
    assert by_us(data + END)[0].name == name


def test_what_does_not_fit_the_fields_is_told_in_pax_records() -> None:
    data = header(b"big", b"0", uid=3_000_000, gid=4_294_967_294, size=9 << 30, mtime=-5)
    info = by_tarfile(data)
    assert (info.uid, info.gid, info.size, info.mtime) == (3_000_000, 4_294_967_294, 9 << 30, -5)


def test_a_device_keeps_its_numbers() -> None:
    info = by_tarfile(header(b"d", b"3", rdev=os.makedev(300, 70000)))
    assert (info.devmajor, info.devminor) == (300, 70000)


def test_the_same_entry_gives_the_same_bytes_whatever_order_its_attributes_have() -> None:
    one = header(b"f", b"0", records={b"SCHILY.xattr.user.a": b"1", b"SCHILY.xattr.user.b": b"2"})
    two = header(b"f", b"0", records={b"SCHILY.xattr.user.b": b"2", b"SCHILY.xattr.user.a": b"1"})
    assert one == two


names = st.binary(min_size=1, max_size=300).filter(lambda n: b"\0" not in n and not n.endswith(b"/"))


@given(
    name=names,
    link=names,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**40), 2**40),
    xattrs=st.dictionaries(st.sampled_from([b"user.a", b"user.b=c"]), st.binary(min_size=1, max_size=200)),
)
def test_we_read_what_we_write(
    name: bytes, link: bytes, mode: int, uid: int, mtime: int, xattrs: dict[bytes, bytes]
) -> None:
    xattrs = {key: value for key, value in xattrs.items() if b"=" not in key}
    records = {b"SCHILY.xattr." + key: value for key, value in xattrs.items()} or None
    data = header(name, b"2", mode=mode, uid=uid, gid=uid, mtime=mtime, link=link, records=records)
    (member,) = by_us(data + END)
    assert (member.name, member.link, member.mode, member.uid, member.gid, member.mtime, member.xattrs) == (
        name,
        link,
        mode,
        uid,
        uid,
        mtime * 10**9,
        xattrs,
    )


def refused_or_read(data: bytes) -> None:
    """Any other exception than an ImageError fails the test."""
    with contextlib.suppress(ImageError):
        by_us(data)


@given(st.binary(max_size=3000))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_saying_so(data: bytes) -> None:
    refused_or_read(data)


@given(st.binary(min_size=1, max_size=1024), st.data())
def test_no_damage_to_an_archive_makes_the_reader_fail_otherwise(content: bytes, data: st.DataObject) -> None:
    whole = bytearray(header("ü".encode() * 60, b"0", size=len(content)) + content + bytes(-len(content) % 512) + END)
    for _ in range(3):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(whole))
