"""Owners of links, fifos and sockets that the file system cannot hold: a table beside the layer's folder.

They take no attributes, so that nothing can be recorded on them (``ownership``). A table has a line for each, by path
and inode; a line whose path has another inode by now means nothing. What is lost: a link that a later step renames
becomes root's.

source   xattr(7), "Extended user attributes"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.layer.ownership import Owner, pair

TABLE = "owners"
"""The name of the table, in the folder of a draft or a snapshot."""

Owners = Mapping[bytes, Owner]
"""By path relative to the root."""


def note(folder: Path, tree: Path, owners: Owners) -> None:
    """Add *owners* to the table in *folder* (a draft's), whose *tree* holds those paths."""
    if not owners:
        return
    root = os.fsencode(tree) + b"/"
    with open(folder / TABLE, "ab") as table:
        for path, (uid, gid) in owners.items():
            try:
                inode = os.lstat(root + path).st_ino
            except OSError:  # replaced by something else since, or moved behind a link
                continue
            table.write(line(path, (uid, gid), inode))


def line(path: bytes, owner: Owner, inode: int) -> bytes:
    """One line of a table."""
    return b"%d:%d %d %b\0" % (*owner, inode, path)


def note_command(folder: Path, tree: Path, written: Path) -> None:
    """Add to the table in *folder* what was *written* of links and special files while a command ran.

    Its inodes are those of the merged root; a link that was renamed meanwhile is found by them in *tree*, for what is
    new there has the same one. Of two lines the later one holds.
    """
    last = {inode: (path, owner) for path, owner, inode in _lines(written)}
    if not last:
        return
    root = os.fsencode(tree) + b"/"
    found: dict[bytes, Owner] = {}
    lost: dict[int, Owner] = {}
    for inode, (path, owner) in last.items():
        try:
            moved = stat.S_IFMT(os.lstat(root + path).st_mode) in (stat.S_IFREG, stat.S_IFDIR)
        except OSError:
            moved = True
        if moved:
            lost[inode] = owner
        else:
            found[path] = owner
    if lost:
        from builder.layer.scan import walk  # it imports this module; and few commands rename such a link

        for path, status in walk(tree):
            if status.st_ino in lost and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                found[path] = lost[status.st_ino]
    note(folder, tree, found)


def _lines(file: Path) -> Iterator[tuple[bytes, Owner, int]]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return
    for text in data.split(b"\0"):
        owner, _, rest = text.partition(b" ")
        inode, _, path = rest.partition(b" ")
        found = pair(owner.decode("ascii", "replace"))
        # The last line is empty, or one that a crash cut.
        if found is not None and path and inode.isdigit():
            yield path, found, int(inode)


def noted(folder: Path, tree: Path) -> dict[bytes, Owner]:
    """What the table in *folder* says of links and special files that are still there."""
    root = os.fsencode(tree) + b"/"
    found: dict[bytes, Owner] = {}
    for path, owner, inode in _lines(folder / TABLE):
        try:
            status = os.lstat(root + path)
        except OSError:
            continue
        if status.st_ino == inode and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            found[path] = owner
    return found
