"""One tar header, as anybody wrote it → a member: POSIX ustar, GNU, star, and the old form.

source   POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"; where they leave a choice,
         Go's archive/tar, which BuildKit reads with
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

from builder.errors import ImageError

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12s")
HEADER_ONLY = b"123456"
"""The kinds that have no data, whatever size their header says."""

# Magic and version at offset 257: POSIX's, and GNU's, which has other fields where POSIX has the prefix
_USTAR = (b"ustar\0", b"00")
_GNU = (b"ustar ", b" \0")


@dataclass(slots=True)
class Member:
    """One member of an archive.

    name     as it is written, so possibly absolute or with ".."
    kind     ``0`` file, ``1`` hard link, ``2`` symbolic link, ``3`` character device, ``4`` block device, ``5`` folder,
             ``6`` fifo
    mode     permission bits
    size     bytes of data that follow in the archive
    mtime    nanoseconds since the epoch
    pieces   of a sparse file: (offset, length) of each piece of data; its length is ``whole``
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes = b""
    rdev: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, int]] | None = None
    whole: int = 0


def malformed(why: str) -> ImageError:
    """The archive is not one."""
    return ImageError(f"the archive is damaged: {why}", code="malformed-archive")


def parse(block: bytes) -> tuple[Member, bool]:
    """The member that a header block tells, and whether the block is GNU's."""
    (name, mode, uid, gid, size, mtime, checksum, kind, link, magic, version, _, _, major, minor, prefix, tail) = (
        _HEADER.unpack(block)
    )
    if sum(block) - sum(checksum) + 256 != (told := number(checksum)):
        # The first tars summed signed characters; GNU tar and Go accept both.
        signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
        if signed != told:
            raise malformed("a header's checksum is wrong")
    name = name.split(b"\0", 1)[0]
    format_ = (magic, version)
    rdev = 0
    if format_ == _USTAR:
        if tail[8:] == b"tar\0":  # star: its times follow a shorter prefix
            prefix = prefix[:131]
        prefix = prefix.split(b"\0", 1)[0]
        if prefix:
            name = prefix + b"/" + name
    if kind in b"34" and format_ in (_USTAR, _GNU):
        rdev = os.makedev(_bounded(number(major)), _bounded(number(minor)))
    length = number(size)
    if kind in b"\0007":  # the old form's files, and POSIX's contiguous ones; an old folder ends in "/"
        kind = b"5" if kind == b"\0" and name.endswith(b"/") else b"0"
    if kind in HEADER_ONLY:
        length = 0
    elif kind not in b"0xgLKS":
        raise ImageError(
            f"the archive has {os.fsdecode(name)!r} of type {kind.decode('latin-1')!r}, which is not supported",
            code="unsupported-archive",
        )
    if length < 0:
        raise malformed("a negative size")
    member = Member(
        name,
        kind,
        number(mode) & 0o7777,
        number(uid),
        number(gid),
        length,
        number(mtime) * 1_000_000_000,
        link.split(b"\0", 1)[0],
        rdev,
    )
    return member, format_ == _GNU


def number(field_: bytes) -> int:
    """A header's number: octal, or GNU's base 256, which has the first bit set and is signed."""
    if field_[0] & 0x80:
        value = int.from_bytes(field_, "big")
        bits = 8 * len(field_) - 1
        if field_[0] & 0x40:
            return value - (1 << (bits + 1))
        return value & ((1 << bits) - 1)
    text = field_.strip(b" \0")
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        text = text.split(b"\0", 1)[0].strip()
        if text and not text.strip(b"01234567"):
            return int(text, 8)
        raise malformed("a number is not octal") from None


def _bounded(number: int) -> int:
    if not 0 <= number < 1 << 32:
        raise malformed("a device number is out of range")
    return number
