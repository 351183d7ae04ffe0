"""What a tree was, by path, and what of it was touched since: one pass of ``lstat``.

ctime cannot be set by any call, so a file that was written, renamed, linked, or given other times, modes, owners or
attributes since then has another one (stat(2), st_ctime).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.layer.changes import Change, Removed
from builder.layer.ownership import Owners
from builder.layer.scan import Attributes, Entries, walk

State = tuple[int, int, int, int, int, int, int]
"""(inode, ctime ns, mtime ns, size, mode, uid, gid): what tells whether a file was touched."""

Known = tuple[State, dict[bytes, bytes]]
"""A file's state, and a folder's attributes (empty for other files: a change of theirs shows in the ctime)."""

_NONE: dict[bytes, bytes] = {}

Told = tuple[bytes, bool]
"""A path that a layer tells, and whether as removed."""


@dataclass(slots=True)
class Index:
    """A tree as it was.

    known    each path's state; b"" is the root
    linked   by inode, the paths of what is no folder and has several names
    sockets  which no layer can hold
    """

    known: dict[bytes, Known] = field(default_factory=dict)
    linked: dict[int, list[bytes]] = field(default_factory=dict)
    sockets: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """A tree compared with what it was.

    now      what it is
    touched  paths of which the state is another one; of folders those whose mode, owner or attributes changed
    stirred  folders that were touched at all: their times may be others
    gone     paths that are not there any more
    """

    now: Index = field(default_factory=Index)
    touched: set[bytes] = field(default_factory=set)
    stirred: list[bytes] = field(default_factory=list)
    gone: set[bytes] = field(default_factory=set)


def state(status: os.stat_result) -> State:
    """What is remembered of a file to tell later whether it was touched."""
    # A folder's size and times follow its entries; they say nothing about the folder itself.
    if stat.S_ISDIR(status.st_mode):
        return status.st_ino, status.st_ctime_ns, 0, 0, status.st_mode, status.st_uid, status.st_gid
    return (
        status.st_ino,
        status.st_ctime_ns,
        status.st_mtime_ns,
        status.st_size,
        status.st_mode,
        status.st_uid,
        status.st_gid,
    )


def index(root: Path) -> Index:
    """What *root* is now, for ``compare`` later."""
    return compare(Index(), root).now


def compare(before: Index, root: Path) -> Comparison:
    """What *root* is, and what of it was touched since it was *before*: one pass."""
    attributes = Attributes(root)
    found = Comparison()
    was, known = before.known.get, found.now.known
    for path, status in walk(root):
        now, old = state(status), was(path)
        mode = now[4]
        is_folder = stat.S_ISDIR(mode)
        if old is not None and old[0] == now:
            known[path] = old
        elif is_folder:
            held = attributes.xattrs(path, mode)
            known[path] = now, held
            found.stirred.append(path)
            if old is None or (old[0][4:], old[1]) != (now[4:], held):
                found.touched.add(path)
        else:
            known[path] = now, _NONE
            found.touched.add(path)
            if stat.S_ISSOCK(mode):
                found.now.sockets.append(path)
        if status.st_nlink > 1 and not is_folder:
            found.now.linked.setdefault(now[0], []).append(path)
    found.gone = before.known.keys() - found.now.known.keys()
    return found


def told(before: Index, found: Comparison) -> list[Told]:
    """What a layer tells of *found*, sorted: a folder only if it was touched or something in it is told."""
    there = found.now.known
    paths: dict[bytes, bool] = {}
    for path in found.touched:
        if not stat.S_ISSOCK(there[path][0][4]):
            paths[path] = False
        elif path in before.known:  # a socket took its place
            paths[path] = True
    for path in found.gone:
        above = _folder(path)
        # Of a folder that is gone only itself, and nothing of one that something else took the place of.
        if above not in found.gone and stat.S_ISDIR(there[above][0][4]):
            paths[path] = True
    for path in list(paths):
        above = _folder(path)
        while above and above not in paths:  # never the root: all have one
            paths[above] = False
            above = _folder(above)
    return sorted(paths.items(), key=_order)


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _order(one: Told) -> list[bytes]:
    return one[0].split(b"/")


def changes(root: Path, paths: Iterable[Told], owners: Owners) -> Iterator[Change]:
    """The changes that *paths* are, as *root* has them.

    owners   of links and special files, as they were noted
    """
    attributes, entries = Attributes(root), Entries(root, owners)
    for path, removed in paths:
        made = None if removed else entries(path, attributes.status(path))
        if removed:
            yield Removed(path)
        elif made is not None:
            yield made


def difference(before: Index, root: Path, owners: Owners | None = None) -> Iterator[Change]:
    """What *root* changed since ``index`` was taken of it, sorted."""
    return changes(root, told(before, compare(before, root)), owners or {})


def newest(known: Mapping[bytes, Known]) -> int:
    """The last time that any of it was touched, in ns since the epoch."""
    return max((held[0][1] for held in known.values()), default=0)
