"""Owners of links, fifos and sockets that the file system cannot hold: a table beside the layer's folder.

They take no attributes, so that nothing can be recorded on them (``ownership``). A table has a line for each, by path
and inode; a line whose path has another inode by now means nothing. Renames and new names that a command gives to such
a link are noted where ids are emulated (``sandbox.supervision``). What is lost: with a range of ids, a link of an id
beyond it that a later step renames.

source   xattr(7), "Extended user attributes"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from builder.layer.ownership import Owner, Owners, ids, pair

TABLE = "owners"
"""The name of the table, in the folder of a draft or a snapshot."""


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


def note_command(folder: Path, tree: Path, written: Path, held: Iterable[tuple[bytes, Owner]] = ()) -> None:
    """Add to the table in *folder* what was *written* of links and special files while a command ran; that is removed.

    Of two lines of a path, or of an inode that has several, the later one holds. The inodes are those of the merged
    root. What is not at its path any more went along with a folder that was renamed, and is found by its inode in
    *tree*, for what is new there has the same one; so has all that the table told of a tree that was copied.

    held   those that the root had before: one that is in *tree* now, and of which no line was written, was copied up by
           an overlay, for its time perhaps
    """
    root = os.fsencode(tree) + b"/"
    lost = {inode: owner for path, owner, inode in _lines(folder / TABLE) if _special(root + path) != inode}
    paths: dict[bytes, int] = {}
    owners: dict[int, Owner] = {}
    for path, owner, inode in _lines(written):
        paths[path], owners[inode] = inode, owner
    found = {path: owners[inode] for path, inode in paths.items() if _special(root + path) is not None}
    lost |= {inode: owners[inode] for path, inode in paths.items() if path not in found}
    for path, owner in held:
        if path not in paths and _is_held(root + path, owner):
            found[path] = owner
    for path in found.keys() & paths.keys():
        lost.pop(paths[path], None)  # it was renamed by itself, or removed and its inode used again
    if lost:
        from builder.layer.scan import walk  # it imports this module; and few commands rename such a folder

        for path, status in walk(tree):
            if status.st_ino in lost and path not in found and _is_special(status):
                found[path] = lost[status.st_ino]
    note(folder, tree, found)
    written.unlink(missing_ok=True)


def _special(place: bytes) -> int | None:
    """The inode of a link or special file, None if there is none."""
    try:
        status = os.lstat(place)
    except OSError:  # removed, or moved behind a link
        return None
    return status.st_ino if _is_special(status) else None


def _is_held(place: bytes, owner: Owner) -> bool:
    """Whether it is a link or special file that the file system has as it would have one of that owner's."""
    try:
        status = os.lstat(place)
    except OSError:
        return False
    return _is_special(status) and (status.st_uid, status.st_gid) == ids().held(*owner)


def _is_special(status: os.stat_result) -> bool:
    return not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


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
        if _special(root + path) == inode:
            found[path] = owner
    return found
