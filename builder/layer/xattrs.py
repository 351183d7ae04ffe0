"""Extended attributes: which a layer keeps, and file capabilities in the form that every image holds.

source   xattr(7); capabilities(7), "File capability extended attribute versioning"
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from builder.errors import StoreError

CAPABILITY = b"security.capability"
_CAPABILITY = "security.capability"
_VERSION_MASK = 0xFF000000
_VERSION_2 = 0x02000000
_VERSION_3 = 0x03000000

# ENOTSUP: a file system without them. EPERM, EACCES: user.* on what is neither a file nor a folder (xattr(7)).
_ABSENT = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES)


def read(path: bytes | int, keep: Callable[[str], bool] | None = None) -> dict[bytes, bytes]:
    """The attributes of *path* (not following a link; or of a descriptor) that a layer keeps.

    keep   None: ``user.*`` and ``security.capability``
    """
    try:
        # No keyword for a descriptor: os refuses follow_symlinks there.
        names = os.listxattr(path) if isinstance(path, int) else os.listxattr(path, follow_symlinks=False)
    except OSError as e:
        if e.errno in _ABSENT:
            return {}
        raise
    if not names:
        return {}
    found: dict[bytes, bytes] = {}
    for name in names:
        if keep(name) if keep else (name.startswith("user.") or name == _CAPABILITY):
            try:
                value = os.getxattr(path, name) if isinstance(path, int) else _get(path, name)
            except OSError as e:
                if e.errno in _ABSENT:
                    continue
                raise
            found[os.fsencode(name)] = version_2(value) if name == _CAPABILITY else value
    return found


def is_capability(name: str) -> bool:
    """Whether a copied file keeps the attribute: COPY and ADD take none but this one along.

    source   BuildKit: no layer holds a ``user.*`` attribute, and what has none to begin with copies none
    """
    return name == _CAPABILITY


def _get(path: bytes, name: str) -> bytes:
    return os.getxattr(path, name, follow_symlinks=False)


def version_2(value: bytes) -> bytes:
    """A file capability without the id of the namespace that it was set in.

    capabilities(7): a process in a user namespace gets version 3 (24 bytes, with a root id) on disk when it sets
    version 2, and reads it back as version 2 only there. Images hold version 2.
    """
    if len(value) != 24:
        return value
    head = int.from_bytes(value[:4], "little")
    if head & _VERSION_MASK != _VERSION_3:
        return value
    return (head & ~_VERSION_MASK | _VERSION_2).to_bytes(4, "little") + value[4:20]


def write(path: bytes | int, name: bytes, value: bytes) -> bool:
    """Set one attribute; False where the place does not allow it (no attributes on this file system, or not for us).

    raises   StoreError if it is larger than the file system takes: ext4 has one block for all of a file's
    """
    try:
        if isinstance(path, int):
            os.setxattr(path, name, value)
        else:
            os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as e:
        if e.errno in (errno.EPERM, errno.ENOTSUP, errno.EACCES):
            return False
        if e.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE) and _has_room(path):
            raise StoreError(
                f"the attribute {os.fsdecode(name)!r} of {len(value)} bytes is larger than the store's file system"
                " takes",
                code="attribute-too-large",
                hint="xfs and btrfs take larger ones: --root puts the store there",
            ) from e
        raise
    return True


def _has_room(path: bytes | int) -> bool:
    """Whether "no space left", said of an attribute, cannot mean the disk. source: setxattr(2), ENOSPC"""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize > 1 << 20
