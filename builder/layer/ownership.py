"""Owners and devices that the file system cannot hold: recorded on the file itself, in a user attribute.

In a user namespace an id outside its map cannot be given, and no device can be made. What an image says is kept all the
same: the file gets the attribute ``user.pybuild.owner``, and a device becomes an empty file that has it::

    UID:GID HELD_UID:HELD_GID [c|b MAJOR:MINOR]

The second pair is what the file system held when the record was written: an id that is another one by now was changed
by somebody who needed no record, so that the record's is old. The attribute goes with its file through rename, link and
removal, overlayfs copies it up, and later layers see it in lower ones. It is no part of any image.

Links, fifos and sockets take no user attributes (xattr(7)): ``noted`` keeps a table of those.

source   user_namespaces(7), "Defining user and group ID mappings"; xattr(7); Charliecloud and fakeroot are prior art
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from builder.errors import HostError, ImageError

PREFIX = b"user.pybuild."
"""Attributes under this name are ours: never exported, and never taken from an archive."""
ATTRIBUTE = b"user.pybuild.owner"
HIGHEST = (1 << 32) - 2
"""The largest id: the one after it means "leave it" in chown(2)."""

Owner = tuple[int, int]

Owners = Mapping[bytes, Owner]
"""By path relative to a root."""

_LETTERS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
# What os.stat_result has beside the ten that it is a tuple of.
_NAMED = ("st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blksize", "st_blocks")
_REFUSED = (errno.EINVAL, errno.EPERM)
_NO_ATTRIBUTE = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Record:
    """What one file's attribute says.

    uid, gid             what the image says
    held_uid, held_gid   what the file system held meanwhile
    kind, rdev           S_IFCHR or S_IFBLK, and the device's numbers; kind 0: no device
    """

    uid: int
    gid: int
    held_uid: int
    held_gid: int
    kind: int = 0
    rdev: int = 0


def encode(record: Record) -> bytes:
    """The attribute's value."""
    text = f"{record.uid}:{record.gid} {record.held_uid}:{record.held_gid}"
    if record.kind:
        text += f" {_LETTERS[record.kind]} {os.major(record.rdev)}:{os.minor(record.rdev)}"
    return text.encode()


def decode(value: bytes) -> Record | None:
    """What an attribute says; None for what is no record, which a command wrote itself and thereby lost."""
    words = value.decode("ascii", "replace").split(" ")
    if len(words) not in (2, 4):
        return None
    pairs = [found for word in (words[0], words[1], *words[3:]) if (found := pair(word)) is not None]
    if len(pairs) != len(words) // 2 + 1 or (len(words) == 4 and words[2] not in _KINDS):
        return None
    (uid, gid), (held_uid, held_gid), *device = pairs
    if not device:
        return Record(uid, gid, held_uid, held_gid)
    return Record(uid, gid, held_uid, held_gid, _KINDS[words[2]], os.makedev(*device[0]))


def pair(word: str) -> tuple[int, int] | None:
    """Two numbers of 32 bits."""
    one, colon, other = word.partition(":")
    if not (colon and one.isdecimal() and other.isdecimal() and len(one) < 11 and len(other) < 11):
        return None
    found = int(one), int(other)
    return found if max(found) <= HIGHEST + 1 else None


def as_told(status: os.stat_result, record: Record | None) -> tuple[int, int, int, int]:
    """(mode, uid, gid, rdev) that an image has for a file of which the file system says *status*."""
    mode, rdev = status.st_mode, status.st_rdev
    uid, gid = ids().plain(status.st_uid, status.st_gid)
    if record is None:
        return mode, uid, gid, rdev
    if record.kind and stat.S_ISREG(mode):
        mode, rdev = record.kind | stat.S_IMODE(mode), record.rdev
    uid = record.uid if status.st_uid == record.held_uid else uid
    gid = record.gid if status.st_gid == record.held_gid else gid
    return mode, uid, gid, rdev


def told_status(status: os.stat_result, record: Record | None, noted: Owner | None = None) -> os.stat_result:
    """*status* with what was recorded in place of what the file system holds. *noted*: of a link or special file."""
    mode, uid, gid, rdev = as_told(status, record)
    if noted is not None:
        uid, gid = noted
    if (mode, uid, gid, rdev) == (status.st_mode, status.st_uid, status.st_gid, status.st_rdev):
        return status
    named = {name: getattr(status, name) for name in _NAMED}
    return os.stat_result((mode, *status[1:4], uid, gid, *status[6:10]), named | {"st_rdev": rdev})


# On disk


@dataclass(frozen=True, slots=True)
class Ids:
    """Which ids this process can give to files.

    uids, gids   (first, count) of those that are mapped
    mark         what a file gets in place of an id that is not: the highest of the first range, which nobody uses
    own          without a namespace, what this process's files have, and which means root; else None
    """

    uids: tuple[tuple[int, int], ...]
    gids: tuple[tuple[int, int], ...]
    own: Owner | None = None

    @property
    def mark(self) -> Owner:
        """See above."""
        return self.own or (_last(self.uids), _last(self.gids))

    def held(self, uid: int, gid: int) -> Owner:
        """What the file system is to hold for the owner *uid*:*gid*."""
        if self.own is not None:
            return self.own
        mark = self.mark
        return uid if _has(self.uids, uid) else mark[0], gid if _has(self.gids, gid) else mark[1]

    def plain(self, uid: int, gid: int) -> Owner:
        """What an owner on disk means where nothing is recorded."""
        if self.own is None:
            return uid, gid
        return 0 if uid == self.own[0] else uid, 0 if gid == self.own[1] else gid


def _last(ranges: tuple[tuple[int, int], ...]) -> int:
    return ranges[0][0] + ranges[0][1] - 1


def _has(ranges: tuple[tuple[int, int], ...], number: int) -> bool:
    return any(first <= number < first + count for first, count in ranges)


def ids() -> Ids:
    """Those of this process."""
    return _ids(os.getpid())


@lru_cache(2)
def _ids(_pid: int) -> Ids:
    # By process: behind the gate the same program has another map.
    own = (os.geteuid(), os.getegid()) if os.geteuid() else None
    return Ids(_ranges("/proc/self/uid_map"), _ranges("/proc/self/gid_map"), own)


def _ranges(path: str) -> tuple[tuple[int, int], ...]:
    try:
        with open(path) as table:
            found = sorted((int(inside), int(count)) for inside, _, count in (line.split() for line in table))
    except FileNotFoundError:  # no /proc: nothing is known to be missing
        found = []
    if not found or found[0][0]:
        return ((0, HIGHEST + 1),)
    # Ranges that follow on each other are one.
    joined = [found[0]]
    for first, count in found[1:]:
        if joined[-1][0] + joined[-1][1] == first:
            joined[-1] = joined[-1][0], joined[-1][1] + count
        else:
            joined.append((first, count))
    return tuple(joined)


def read(place: bytes | str | int, *, follow: bool = False) -> Record | None:
    """The record of a file (a path, or a descriptor that is no O_PATH one), or None."""
    try:
        if isinstance(place, int):
            return decode(os.getxattr(place, ATTRIBUTE))
        return decode(os.getxattr(place, ATTRIBUTE, follow_symlinks=follow))
    except OSError as e:
        if e.errno in _NO_ATTRIBUTE:
            return None
        raise


def told_at(place: str, status: os.stat_result, noted: Owner | None = None) -> os.stat_result:
    """*status*, of the file *place* (no link followed), as an image has it. *noted*: of a link or special file."""
    return told_status(status, read(place) if noted is None and _may_have_record(status) else None, noted)


def _may_have_record(status: os.stat_result) -> bool:
    """Cheap: a record is of an id that is not mapped, in whose place the file has the mark, or of a device."""
    mark = ids().mark
    if stat.S_ISREG(status.st_mode):
        return status.st_uid == mark[0] or status.st_gid == mark[1] or status.st_size == 0
    return stat.S_ISDIR(status.st_mode) and (status.st_uid == mark[0] or status.st_gid == mark[1])


def give(
    place: bytes | str | int,
    uid: int,
    gid: int,
    *,
    device: tuple[int, int] | None = None,
    fresh: bool = False,
    follow: bool = False,
) -> bool:
    """Let the file *place* (a path or a descriptor) be *uid*'s and *gid*'s, by the file system or by a record.

    device   (kind, rdev) of a device that the empty file *place* stands for
    fresh    the file is new, so that no record of it can be old
    returns  False for a link or special file whose owner has to be noted in the table
    raises   OSError; ImageError for numbers that are no ids; HostError ``no-user-xattrs`` where no record can be kept
    """
    if not (0 <= uid <= HIGHEST and 0 <= gid <= HIGHEST):
        raise ImageError(f"the owner {uid}:{gid} is none: ids go from 0 to {HIGHEST}", code="malformed-archive")
    able = ids()
    held = able.held(uid, gid)
    if able.plain(*held) == (uid, gid) and device is None:
        try:
            _chown(place, held, follow)
        except OSError as e:
            if e.errno not in _REFUSED:
                raise
        else:
            if not fresh:
                _forget(place, follow)
            return True
    else:
        _chown(place, held, follow)
    status = os.stat(place) if isinstance(place, int) else os.stat(place, follow_symlinks=follow)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return able.plain(status.st_uid, status.st_gid) == (uid, gid)
    record = Record(uid, gid, status.st_uid, status.st_gid, *(device or ()))
    if device is None and not fresh and (old := read(place, follow=follow)) is not None:
        record = replace(record, kind=old.kind, rdev=old.rdev)
    if record.kind or able.plain(status.st_uid, status.st_gid) != (uid, gid):
        _write(place, record, follow)
    elif not fresh:
        _forget(place, follow)
    return True


def _chown(place: bytes | str | int, owner: Owner, follow: bool) -> None:
    if isinstance(place, int):
        os.fchown(place, *owner)
    else:
        os.chown(place, *owner, follow_symlinks=follow)


def _write(place: bytes | str | int, record: Record, follow: bool) -> None:
    try:
        if isinstance(place, int):
            os.setxattr(place, ATTRIBUTE, encode(record))
        else:
            os.setxattr(place, ATTRIBUTE, encode(record), follow_symlinks=follow)
    except OSError as e:
        if e.errno != errno.ENOTSUP:
            raise
        raise HostError(
            "the store's file system keeps no user attributes, which owners that are not mapped are recorded in",
            code="no-user-xattrs",
            hint="put the store on ext4, xfs, btrfs, or tmpfs of Linux 6.6 or later; or give this user 65536 or more"
            " subordinate ids in /etc/subuid and /etc/subgid",
        ) from None


def _forget(place: bytes | str | int, follow: bool) -> None:
    """Remove a record that is no longer true; of a device only what it says of the owner."""
    old = read(place, follow=follow)
    if old is None:
        return
    if old.kind:
        status = os.stat(place) if isinstance(place, int) else os.stat(place, follow_symlinks=follow)
        uid, gid = status.st_uid, status.st_gid
        _write(place, replace(old, uid=uid, gid=gid, held_uid=uid, held_gid=gid), follow)
    elif isinstance(place, int):
        os.removexattr(place, ATTRIBUTE)
    else:
        os.removexattr(place, ATTRIBUTE, follow_symlinks=follow)


def make_device(name: bytes | str, folder: int, kind: int, rdev: int) -> bool:
    """Make the device *name* in the open *folder*; False if an empty file had to be made that is to stand for it.

    Its mode is 0600. The caller gives it an owner, with ``device`` if this returned False.
    """
    try:
        os.mknod(name, kind | 0o600, rdev, dir_fd=folder)
    except OSError as e:
        # user_namespaces(7): nobody but the first namespace's root makes devices
        if e.errno != errno.EPERM:
            raise
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
        return False
    return True
