r"""One tar header, as we write it: POSIX ustar, with a PAX record only for what ustar cannot say.

    offset  0 name[100]  100 mode[8]  108 uid[8]  116 gid[8]  124 size[12]  136 mtime[12]  148 checksum[8]
          156 typeflag[1]  157 linkname[100]  257 "ustar\0"  263 "00"  265 uname[32]  297 gname[32]
          329 devmajor[8]  337 devminor[8]  345 prefix[155]  500 padding[12]

Like Go's archive/tar, which all container tools read with, we write names as raw bytes into PAX records, whether or
not they are UTF-8 and without ``hdrcharset``, which Go ignores.

source   POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"
"""

from __future__ import annotations

import os
import stat

BLOCK = 512
END = bytes(2 * BLOCK)

_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


def typeflag(mode: int) -> bytes | None:
    """The typeflag of a file of that ``st_mode``; None for a socket, which no tar can hold."""
    return _TYPES.get(stat.S_IFMT(mode))


def header(
    name: bytes,
    kind: bytes,
    *,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    rdev: int = 0,
    records: dict[bytes, bytes] | None = None,
) -> bytes:
    """The block, or blocks, that stand before an entry's data.

    name     a folder's ends in "/"
    mtime    whole seconds
    records  further PAX records; those for what ustar cannot hold are added
    """
    pax = records
    prefix = b""
    if len(name) > 100 or not name.isascii():
        prefix, short = _split(name)
        if not short:
            pax = {**(pax or {}), b"path": name}
            name = _ascii(name)
        else:
            name = short
    if len(link) > 100 or not link.isascii():
        pax = {**(pax or {}), b"linkpath": link}
        link = _ascii(link)
    if uid > _OCTAL_7 or gid > _OCTAL_7 or size > _OCTAL_11 or not 0 <= mtime <= _OCTAL_11:
        pax = {**(pax or {})}
        if uid > _OCTAL_7:
            pax[b"uid"], uid = b"%d" % uid, 0
        if gid > _OCTAL_7:
            pax[b"gid"], gid = b"%d" % gid, 0
        if size > _OCTAL_11:
            pax[b"size"], size = b"%d" % size, 0
        if not 0 <= mtime <= _OCTAL_11:
            pax[b"mtime"], mtime = b"%d" % mtime, 0
    block = _block(name, kind, mode & 0o7777, uid, gid, size, mtime, link, rdev, prefix)
    return block if pax is None else _extended(pax) + block


def _block(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    rdev: int,
    prefix: bytes,
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    if rdev or prefix:
        tail = b"%07o\0%07o\0%b" % (os.major(rdev), os.minor(rdev), prefix)
    else:
        tail = b"0000000\x000000000\0"
    # The checksum is taken with its own field as eight spaces (256 in all). The constants' part is known beforehand:
    # "ustar\0" + "00" is 559 + 96. NUL bytes add nothing, so the padding need not be summed.
    checksum = 256 + 655 + sum(name) + sum(numbers) + kind[0] + sum(link) + sum(tail)
    return b"%b%b%06o\0 %b%bustar\x0000%b%b" % (
        name.ljust(100, b"\0"),
        numbers,
        checksum,
        kind,
        link.ljust(100, b"\0"),
        bytes(64),
        tail.ljust(183, b"\0"),
    )


def _split(name: bytes) -> tuple[bytes, bytes]:
    """*name* cut at a "/" for ustar's prefix field, or (b"", b"") where that cannot be."""
    if len(name) > 256 or not name.isascii():
        return b"", b""
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or not 0 < len(name) - cut - 1 <= 100:
        return b"", b""
    return name[:cut], name[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    # What a reader without PAX sees; the same that Go writes there.
    return bytes(byte for byte in name if byte < 0x80)[:100]


def _extended(records: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    block = _block(b"././@PaxHeader", b"x", 0o644, 0, 0, len(data), 0, b"", 0, b"")
    return block + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    r"""``"%d %s=%s\n"``, whose number is the record's length with the number itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %b=%b\n" % (length, key, value)
