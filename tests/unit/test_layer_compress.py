"""Compression: the same bytes always, read back whole, damage told."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest
import pyzstd

from builder.errors import ImageError
from builder.layer.compress import compressor, decompressed, sniff

DATA = b"".join(b"%d\n" % number for number in range(100_000))


def compressed(kind: str, data: bytes = DATA, level: int | None = None) -> bytes:
    out = io.BytesIO()
    with compressor(kind, out, level) as stream:
        for at in range(0, len(data), 70_000):
            stream.write(data[at : at + 70_000])
    return out.getvalue()


def plain(kind: str, data: bytes) -> bytes:
    stream = decompressed(kind, io.BytesIO(data))
    out = []
    while part := stream.read(10_000):
        assert len(part) <= 10_000
        out.append(part)
    return b"".join(out)


@pytest.mark.parametrize("level", [None, 0, 1, 3, 6, 9])
@pytest.mark.parametrize("kind", ["uncompressed", "gzip", "zstd"])
def test_what_was_compressed_is_read_back(kind: str, level: int | None) -> None:
    data = compressed(kind, level=level)
    assert sniff(data[:6]) == kind
    assert plain(kind, data) == DATA
    assert compressed(kind, level=level) == data


def test_others_read_it() -> None:
    assert gzip.decompress(compressed("gzip")) == DATA
    assert pyzstd.decompress(compressed("zstd")) == DATA


def test_a_gzip_header_has_neither_time_nor_name() -> None:
    assert compressed("gzip")[3:8] == bytes(5)


def checked_zstd(data: bytes) -> bytes:
    return pyzstd.compress(data, {pyzstd.CParameter.checksumFlag: 1})


@pytest.mark.parametrize(
    ("kind", "compress"),
    [("gzip", gzip.compress), ("zstd", checked_zstd), ("bzip2", bz2.compress), ("xz", lzma.compress)],
)
class TestAllKinds:
    def test_several_members_follow_one_another(self, kind: str, compress) -> None:
        assert plain(kind, compress(DATA) + compress(b"") + compress(b"end")) == DATA + b"end"

    def test_it_is_told_by_its_first_bytes(self, kind: str, compress) -> None:
        assert sniff(compress(DATA)[:6]) == kind

    def test_a_cut_stream_is_refused(self, kind: str, compress) -> None:
        with pytest.raises(ImageError) as error:
            plain(kind, compress(DATA)[:-9])
        assert error.value.code == "damaged-compression"
        assert error.value.message == f"the {kind} stream is damaged: it ends in the middle"

    def test_an_empty_stream_is_refused(self, kind: str, compress) -> None:
        with pytest.raises(ImageError) as error:
            plain(kind, b"")
        assert error.value.message == f"the {kind} stream is damaged: it is empty"

    def test_damage_is_refused(self, kind: str, compress) -> None:
        data = bytearray(compress(DATA))
        data[len(data) // 2] ^= 0xFF
        with pytest.raises(ImageError) as error:
            plain(kind, bytes(data))
        assert error.value.code == "damaged-compression"

    def test_garbage_after_the_end_is_refused(self, kind: str, compress) -> None:
        with pytest.raises(ImageError):
            plain(kind, compress(DATA) + b"garbage, and enough of it for any header")


def test_zeros_may_follow_gzip() -> None:
    assert plain("gzip", gzip.compress(DATA) + bytes(1000)) == DATA


def test_nothing_follows_these_zeros_and_there_are_none_where_go_reads() -> None:
    with pytest.raises(ImageError) as error:
        plain("gzip", gzip.compress(DATA) + bytes(1000) + gzip.compress(DATA))
    assert error.value.message == "the gzip stream is damaged: something follows the zeros at its end"
    stream = decompressed("gzip", io.BytesIO(gzip.compress(b"x") + bytes(1000)), padded=False)
    assert stream.read(1) == b"x"
    with pytest.raises(ImageError) as error:
        stream.read(1)
    assert error.value.code == "damaged-compression"


def test_a_hostile_window_is_refused() -> None:
    bomb = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(ImageError) as error:
        plain("xz", bomb)
    assert error.value.code == "damaged-compression"


def test_a_bomb_is_read_in_small_pieces() -> None:
    stream = decompressed("gzip", io.BytesIO(gzip.compress(bytes(50_000_000))))
    assert len(stream.read(1 << 30)) <= 1 << 20
