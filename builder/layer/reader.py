"""Tar → members, from a hostile stream: POSIX ustar and pax, GNU and the old form, in constant memory.

The stream is read, decompressed and hashed by a thread of its own, a few megabytes ahead, for these release the
interpreter's lock while the caller parses and writes.

source   POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format", "GNU Extensions to the
         Archive Format", "Storing Sparse Files"; where they leave a choice, Go's archive/tar, which BuildKit reads with
"""

from __future__ import annotations

import hashlib
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from builder.errors import ImageError
from builder.image.names import Digest
from builder.layer.headers import BLOCK

# Go's maxSpecialFileSize: a pax header or a long name is never larger
_MOST_SPECIAL = 1 << 20
_READ = 1 << 20
_AHEAD = 8

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12s")
_ZEROS = bytes(BLOCK)
_HEADER_ONLY = b"123456"

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


class Reader:
    """Members, one after the other. After each, its data is taken with ``view`` or ``chunks``, or left alone.

    source   uncompressed; the reader does not close it
    report   receives the number of uncompressed bytes, as they are read, from another thread
    """

    def __init__(self, source: BinaryIO, report: Callable[[int], None] | None = None) -> None:
        self._ahead = _Ahead(source, report)
        self._buffer = b""
        self._at = 0
        self._left = 0  # data of the present member that was not taken, padding included
        self.offset = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.stop()

    def finish(self) -> tuple[Digest, int]:
        """The digest and the size of the whole stream, what follows the archive's end included."""
        while self._ahead.next():
            pass
        return self._ahead.result()

    def __iter__(self) -> Iterator[Member]:
        """All members; ImageError (``malformed-archive``) where the stream is none."""
        special: dict[str, bytes] = {}
        while (block := self._block()) is not None:
            member, gnu = parse(block)
            if member.kind in (b"x", b"L", b"K", b"g"):
                if member.size > _MOST_SPECIAL:
                    raise malformed(f"a header of {member.size} bytes")
                data = self._take(member.size)
                # Go's archive/tar gives global headers to its caller, which ignores them, as containerd does.
                if member.kind == b"x":
                    special["pax"] = data
                elif member.kind != b"g":
                    special[member.kind.decode()] = data.split(b"\0", 1)[0]
                self._skip(-member.size % BLOCK)
                continue
            if special:
                _extend(member, special)
                special = {}
            self._left = member.size + -member.size % BLOCK
            if member.kind == b"S" or member.pieces is not None:
                self._sparse(member, block if gnu else None)
            yield member
            self._skip(self._left)
            self._left = 0
        if special:
            raise malformed("it ends after an extended header")

    def _sparse(self, member: Member, block: bytes | None) -> None:
        from builder.layer import sparse  # few archives have any

        used = sparse.read_map(member, block, self._take)
        self._left -= used
        member.size -= used
        member.kind = b"0"
        sparse.check(member)

    def view(self, size: int) -> memoryview | None:
        """All of the member's data at once, if it is at hand; else None, and it is to be taken by ``chunks``."""
        end = self._at + size
        if end > len(self._buffer):
            return None
        data = memoryview(self._buffer)[self._at : end]
        self._at = end
        self._left -= size
        return data

    def chunks(self, size: int) -> Iterator[memoryview]:
        """The next *size* bytes of the member's data, piece by piece."""
        self._left -= size
        while size:
            if self._at >= len(self._buffer) and not self._more():
                raise malformed("it ends in the middle of a file")
            data = memoryview(self._buffer)[self._at : self._at + size]
            self._at += len(data)
            size -= len(data)
            yield data

    def _block(self) -> bytes | None:
        """The next header; None at the end, which is two blocks of zeros or, as Go takes it, the stream's end."""
        block = self._one_block()
        if block == _ZEROS:
            block = self._one_block()
            if block and block != _ZEROS:
                raise malformed("a single block of zeros")
            return None
        return block

    def _one_block(self) -> bytes | None:
        at = self._at
        block = self._buffer[at : at + BLOCK]
        if len(block) == BLOCK:
            self._at = at + BLOCK
            return block
        if not block and not self._more():
            return None
        return self._take(BLOCK)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            if not self._more():
                raise malformed("it ends in the middle of a header")
        data = self._buffer[self._at : self._at + size]
        self._at += size
        return data

    def _skip(self, size: int) -> None:
        while size > len(self._buffer) - self._at:
            size -= len(self._buffer) - self._at
            self._at = len(self._buffer)
            if not self._more():
                raise malformed("it ends in the middle of a file")
        self._at += size

    def _more(self) -> bool:
        data = self._ahead.next()
        if not data:
            return False
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        return True


class _Ahead:
    """Reads a stream in a thread of its own, hashing it."""

    def __init__(self, source: BinaryIO, report: Callable[[int], None] | None) -> None:
        self._source = source
        self._report = report
        self._sha = hashlib.sha256()
        self._size = 0
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="unpack", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                data = self._source.read(_READ)
                self._sha.update(data)
                self._size += len(data)
                self._queue.put(data)
                if not data:
                    return
                if self._report:
                    self._report(len(data))
        except BaseException as e:  # handed over to the caller's thread, which raises it
            self._queue.put(e)

    def next(self) -> bytes:
        """The next piece; b"" at the end."""
        if self._ended:
            return b""
        got = self._queue.get()
        if isinstance(got, BaseException):
            self._ended = True
            raise got
        self._ended = not got
        return got

    def result(self) -> tuple[Digest, int]:
        self._thread.join()
        return Digest("sha256:" + self._sha.hexdigest()), self._size

    def stop(self) -> None:
        """End the thread, whatever was read; the source may be closed then."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()


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
    if kind in _HEADER_ONLY:
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


def _extend(member: Member, special: dict[str, bytes]) -> None:
    """Let the extended headers before it correct *member*."""
    member.name = special.get("L", member.name)
    member.link = special.get("K", member.link)
    if "pax" not in special:
        return
    records = _records(special["pax"])
    for key, value in records:
        if not value and key in (b"path", b"linkpath", b"uid", b"gid", b"size", b"mtime"):
            continue  # POSIX, "pax Extended Header": an empty value deletes the record
        if key == b"path":
            member.name = _text(value)
        elif key == b"linkpath":
            member.link = _text(value)
        elif key == b"uid":
            member.uid = _decimal(value)
        elif key == b"gid":
            member.gid = _decimal(value)
        elif key == b"size":
            if member.kind not in _HEADER_ONLY:
                member.size = _decimal(value)
        elif key == b"mtime":
            member.mtime = _time(value)
        elif key.startswith(b"SCHILY.xattr."):
            member.xattrs[_text(key[13:])] = value
    if any(key.startswith(b"GNU.sparse.") for key, _ in records):
        from builder.layer import sparse

        sparse.extend(member, records)


def _records(data: bytes) -> list[tuple[bytes, bytes]]:
    r"""Records of the form ``"%d %s=%s\n"``."""
    found = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        length = data[at:space]
        if space < 0 or not length.isdigit():
            raise malformed("an extended header has no length")
        end = at + int(length)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not at < end <= len(data) or not equals or not key or data[end - 1 : end] != b"\n":
            raise malformed("an extended header has the wrong length")
        found.append((key, value))
        at = end
    return found


def _text(value: bytes) -> bytes:
    if b"\0" in value:
        raise malformed("a name with a NUL")
    return value


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise malformed("a number of an extended header is not decimal")
    return int(value)


def _time(value: bytes) -> int:
    """Decimal seconds, possibly negative and with a fraction, in nanoseconds."""
    whole, _, fraction = value.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 18 or not (not fraction or fraction.isdigit()):
        raise malformed("a time of an extended header is not decimal")
    nanoseconds = int(digits) * 1_000_000_000 + int((fraction[:9] or b"0").ljust(9, b"0"))
    return -nanoseconds if whole.startswith(b"-") else nanoseconds
