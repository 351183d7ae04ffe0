"""What a layer holds, as values: entries of a tree, and the changes between two trees.

source   OCI image-spec, layer.md: "File Attributes", "Whiteouts", "Opaque Whiteout"
"""

from __future__ import annotations

from dataclasses import dataclass, field

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One file system object, as a layer records it. Not frozen: tens of thousands are made in a second.

    path       relative to the root, "/"-separated, without "./" or a final "/"; bytes, for names need not be UTF-8;
               b"" is the root itself
    mode       type and permission bits, as ``st_mode``
    mtime      nanoseconds since the epoch
    link       a symbolic link's target, or None
    hardlink   the path of an earlier entry that this one is another name of, or None
    rdev       of a device
    xattrs     those that a layer keeps: ``user.*`` and ``security.capability`` (always as version 2), trusted.* not
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    link: bytes | None = None
    hardlink: bytes | None = None
    rdev: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Removed:
    """*path* of the layers below is gone."""

    path: bytes


Change = Entry | Removed
"""A sequence of changes is sorted by path, component by component and bytewise: a folder comes before what is in it."""
