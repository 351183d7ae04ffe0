"""The extended headers before a member, which correct it: pax's records, and GNU's long names.

source   POSIX.1-2017, pax, "pax Extended Header"; GNU tar manual, "Basic Tar Format"
"""

from __future__ import annotations

from builder.layer import sparse
from builder.layer.members import HEADER_ONLY, Member, malformed


def extend(member: Member, special: dict[str, bytes]) -> None:
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
            if member.kind not in HEADER_ONLY:
                member.size = _decimal(value)
        elif key == b"mtime":
            member.mtime = _time(value)
        elif key.startswith(b"SCHILY.xattr."):
            member.xattrs[_text(key[13:])] = value
    if any(key.startswith(b"GNU.sparse.") for key, _ in records):
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
