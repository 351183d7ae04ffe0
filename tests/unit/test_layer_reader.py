"""Reading archives of other programs, and damaged ones."""

from __future__ import annotations

import io
import tarfile

import pytest

from builder.errors import ImageError
from builder.layer.headers import END, header
from builder.layer.reader import Member, Reader


def read(data: bytes) -> list[tuple[Member, bytes]]:
    with Reader(io.BytesIO(data)) as reader:
        found = []
        for member in reader:
            found.append((member, b"".join(bytes(part) for part in reader.chunks(member.size))))
        reader.finish()
        return found


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        read(data)
    return error.value.message


def archive(format_: int, *members: tuple[str, bytes], **more: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_, **more) as tar:  # type: ignore[call-overload]  # tarfile's
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_forms_of_tar_are_read(format_: int) -> None:
    data = archive(format_, ("a", b"1" * 600), ("d/b", b""), ("c", b"3"))
    assert [(member.name, content) for member, content in read(data)] == [
        (b"a", b"1" * 600),
        (b"d/b", b""),
        (b"c", b"3"),
    ]


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_large_numbers_of_gnu_and_pax_are_read(format_: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        info = tarfile.TarInfo("n" * 300)
        info.type, info.linkname, info.uid, info.gid = tarfile.SYMTYPE, "l" * 300, 3_000_000, 2**32 - 2
        tar.addfile(info)
    ((member, _),) = read(out.getvalue())
    assert (member.name, member.link, member.uid, member.gid) == (b"n" * 300, b"l" * 300, 3_000_000, 2**32 - 2)


def test_a_global_header_is_passed_over_as_buildkit_does() -> None:
    data = archive(tarfile.PAX_FORMAT, ("a", b""), pax_headers={"comment": "c", "uid": "5"})
    ((member, _),) = read(data)
    assert (member.name, member.uid) == (b"a", 0)


def test_times_of_pax_are_kept_to_the_nanosecond() -> None:
    data = header(b"a", b"0", records={b"mtime": b"-1.5"}) + END
    assert read(data)[0][0].mtime == -1_500_000_000
    data = header(b"a", b"0", records={b"mtime": b"1.123456789012"}) + END
    assert read(data)[0][0].mtime == 1_123_456_789


def test_an_archive_may_end_without_its_zeros_or_be_empty() -> None:
    assert read(b"") == []
    assert [member.name for member, _ in read(header(b"a", b"0"))] == [b"a"]


def test_what_follows_the_end_is_hashed_but_not_read() -> None:
    import hashlib

    data = header(b"a", b"0") + END + header(b"b", b"0") + b"rest"
    with Reader(io.BytesIO(data)) as reader:
        assert [member.name for member in reader] == [b"a"]
        digest, size = reader.finish()
    assert (digest.hex, size) == (hashlib.sha256(data).hexdigest(), len(data))


def test_an_old_gnu_sparse_file_is_read() -> None:
    block = bytearray(header(b"s", b"S", size=3))
    block[257:265] = b"ustar  \0"
    block[386:410] = b"%011o\0%011o\0" % (5_000_000, 3)
    block[482] = 0
    block[483:495] = b"%011o\0" % 9_000_001
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    ((member, content),) = read(bytes(block) + b"mid".ljust(512, b"\0") + END)
    assert (member.kind, member.pieces, member.whole, content) == (b"0", [(5_000_000, 3)], 9_000_001, b"mid")


@pytest.mark.parametrize(
    ("records", "data"),
    [
        ({b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"4,3"}, b"mid"),
        (
            {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": b"true/name",
                b"GNU.sparse.realsize": b"10",
            },
            b"1\n4\n3\n".ljust(512, b"\0") + b"mid",
        ),
    ],
)
def test_sparse_files_of_pax_are_read(records: dict[bytes, bytes], data: bytes) -> None:
    whole = header(b"GNUSparseFile/x", b"0", size=len(data), records=records) + data.ljust(1024, b"\0")
    ((member, content),) = read(whole[: len(whole) - (1024 - len(data) - (-len(data) % 512))] + END)
    assert (member.pieces, member.whole, content) == ([(4, 3)], 10, b"mid")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(b"a", b"0")[:300], "the archive is damaged: it ends in the middle of a header"),
        (header(b"a", b"0", size=600) + b"x" * 512, "the archive is damaged: it ends in the middle of a file"),
        (b"x" * 512, "the archive is damaged: a number is not octal"),
        (header(b"a", b"0").replace(b"a", b"b", 1), "the archive is damaged: a header's checksum is wrong"),
        (bytes(512) + header(b"a", b"0"), "the archive is damaged: a single block of zeros"),
        (header(b"a", b"V") + END, "the archive has 'a' of type 'V', which is not supported"),
        (header(b"x", b"x", size=2 << 20), "the archive is damaged: a header of 2097152 bytes"),
        (header(b"a", b"0", records={b"path": b"a\0b"}) + END, "the archive is damaged: a name with a NUL"),
        (
            header(b"a", b"0", records={b"size": b"many"}) + END,
            "the archive is damaged: a number of an extended header is not decimal",
        ),
        (header(b"x", b"x", size=0), "the archive is damaged: it ends after an extended header"),
        (
            header(b"s", b"0", records={b"GNU.sparse.size": b"2", b"GNU.sparse.map": b"4,3"}, size=3)
            + bytes(512)
            + END,
            "the archive is damaged: a sparse file's map does not fit its data",
        ),
    ],
)
def test_what_is_no_archive_is_refused(data: bytes, message: str) -> None:
    assert refusal(data) == message
