"""GNU's sparse files in archives: the old form, and those of pax headers, 0.0, 0.1 and 1.0.

source   GNU tar manual, "Storing Sparse Files"; "Basic Tar Format", ``struct oldgnu_header``
"""

from __future__ import annotations

from collections.abc import Callable

from builder.layer.headers import BLOCK
from builder.layer.members import Member, malformed, number

# A map is held whole; a hostile one has no end
_MOST_PIECES = 1 << 17


def extend(member: Member, records: list[tuple[bytes, bytes]]) -> None:
    """Let the ``GNU.sparse.*`` records correct *member*. For version 1.0 the map follows, in the data."""
    told = dict(records)
    name = told.get(b"GNU.sparse.name")
    if name:
        member.name = name
    whole = told.get(b"GNU.sparse.realsize", told.get(b"GNU.sparse.size"))
    if whole is None:
        raise malformed("a sparse file without its size")
    member.whole = _decimal(whole)
    if (told.get(b"GNU.sparse.major"), told.get(b"GNU.sparse.minor")) == (b"1", b"0"):
        member.pieces = []
        member.kind = b"S"
        return
    if b"GNU.sparse.map" in told:
        numbers = [_decimal(text) for text in told[b"GNU.sparse.map"].split(b",") if text]
    else:
        # 0.0: GNU.sparse.offset and GNU.sparse.numbytes in turn, once for each piece
        numbers = [_decimal(value) for key, value in records if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    if len(numbers) % 2:
        raise malformed("a sparse file's map is odd")
    member.pieces = list(zip(numbers[::2], numbers[1::2], strict=True))


def read_map(member: Member, block: bytes | None, take: Callable[[int], bytes]) -> int:
    """Fill in the map that stands before a sparse member's data; the bytes of the data that it took.

    block   GNU's own header block, if the member has one
    """
    if member.pieces is None:
        if block is None:
            raise malformed("a sparse file without a map")
        return _old(member, block, take)
    if member.kind != b"S":
        return 0
    # 1.0: decimal numbers, each with a newline, first how many pieces; padded to whole blocks
    used = 0
    text = b""

    def line_number() -> int:
        nonlocal used, text
        while b"\n" not in text:
            if len(text) > 20 or used >= member.size:
                raise malformed("a sparse file's map has no end")
            text += take(BLOCK)
            used += BLOCK
        line, _, text = text.partition(b"\n")
        return _decimal(line)

    count = line_number()
    if count > _MOST_PIECES:
        raise malformed("a sparse file's map is too long")
    member.pieces = [(line_number(), line_number()) for _ in range(count)]
    return used


def _old(member: Member, block: bytes, take: Callable[[int], bytes]) -> int:
    """The old form: four pieces in the header at 386, more in blocks of 21 that follow while a flag says so."""
    pieces: list[tuple[int, int]] = []
    member.whole = number(block[483:495])
    area, more = block[386:482], block[482]
    while True:
        for at in range(0, len(area), 24):
            if area[at] == 0:
                break
            pieces.append((number(area[at : at + 12]), number(area[at + 12 : at + 24])))
        if not more:
            break
        if len(pieces) > _MOST_PIECES:
            raise malformed("a sparse file's map is too long")
        # These blocks belong to the header: they are not counted in the size.
        following = take(BLOCK)
        area, more = following[:504], following[504]
    member.pieces = pieces
    return 0


def check(member: Member) -> None:
    """ImageError unless the pieces follow one another, inside the file, and are as long as the data."""
    end = 0
    for offset, length in member.pieces or ():
        if offset < end or length < 0:
            raise malformed("a sparse file's pieces overlap")
        end = offset + length
    if end > member.whole or sum(length for _, length in member.pieces or ()) != member.size:
        raise malformed("a sparse file's map does not fit its data")


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise malformed("a sparse file's map is not decimal")
    return int(text)
