"""What stays of a snapshot whose tree was taken over: the part that is not below it.

::

    changed    what the step changed: marshal of ([(path, removed)], {folder: modification time in ns})
    part/fs/   of the paths in it those that are there, as they were;  part/owners  the table of ``layer.noted``

``changed`` is written with every step, ``part`` when its tree is taken over. Together with those below, down to a
whole one, the parts are the tree again, but for sockets.
"""

from __future__ import annotations

import marshal
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from builder.errors import StoreError
from builder.layer import noted
from builder.layer.index import Comparison, Told
from builder.snapshot.copying import copy_paths
from builder.snapshot.merging import Source

_CHANGED = "changed"
_PART = "part"
_MARSHAL = 4  # the format that every Python from 3.4 on reads


@dataclass(frozen=True, slots=True)
class Changed:
    """What a step changed of the tree below: ``told`` is what its layer tells, ``times`` those of other folders."""

    told: Sequence[Told]
    times: Mapping[bytes, int]


def remember(folder: Path, told: Sequence[Told], found: Comparison, tree: Path) -> None:
    """Write what was changed into *folder*, a draft's."""
    named = {path for path, _ in told}
    root = os.fsencode(tree) + b"/"
    times = {path: os.lstat(root + path).st_mtime_ns for path in found.stirred if path not in named}
    (folder / _CHANGED).write_bytes(marshal.dumps((list(told), times), _MARSHAL))


def recall(folder: Path) -> Changed | None:
    """What was changed, of the snapshot in *folder*; None if it is no step's.

    raises   StoreError (``damaged-snapshot``)
    """
    try:
        told, times = marshal.loads((folder / _CHANGED).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, TypeError) as e:
        raise StoreError(f"what the snapshot {folder.name} changed cannot be read: {e}", code="damaged-snapshot") from e
    return Changed(cast(list[Told], told), cast(dict[bytes, int], times))


def has_changed(folder: Path) -> bool:
    """Whether the snapshot in *folder* says what it changed."""
    return (folder / _CHANGED).exists()


def is_whole(folder: Path) -> bool:
    """Whether the snapshot in *folder* has its whole tree."""
    return (folder / "fs").is_dir()


def has_part(folder: Path) -> bool:
    """Whether it has what it changed apart."""
    return (folder / _PART).is_dir()


def place(folder: Path) -> Path:
    """The folder with ``fs`` and the table of owners from which the snapshot's own changes are read."""
    return folder / _PART if has_part(folder) else folder


def source(folder: Path) -> Source:
    """What the snapshot adds to those below it."""
    if is_whole(folder):
        return Source(folder / "fs")
    changed = recall(folder)
    if changed is None or not has_part(folder):
        raise StoreError(f"the snapshot {folder.name} vanished while it was needed", code="snapshot-lost")
    removed = frozenset(path for path, gone in changed.told if gone)
    return Source(folder / _PART / "fs", removed, changed.times)


def make_part(folder: Path, changed: Changed, draft: Path) -> Path:
    """Set apart, in *draft*, what the snapshot in *folder* changed: a folder that ``keep_part`` takes."""
    part = draft / _PART
    part.mkdir()
    copy_paths(folder / "fs", part / "fs", changed.told)
    owners = noted.noted(folder, folder / "fs")
    noted.note(part, part / "fs", {path: owners[path] for path, _ in changed.told if path in owners} if owners else {})
    return part


def keep_part(part: Path, folder: Path) -> None:
    """Give it to the snapshot in *folder*, at once."""
    os.rename(part, folder / _PART)


class Uses:
    """Which trees are being read by the threads of this process."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._taken: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def read(self, snapshot_id: str) -> Iterator[None]:
        """Nobody takes it meanwhile; waits for whoever is taking it."""
        with self._changed:
            self._changed.wait_for(lambda: snapshot_id not in self._taken)
            self._counts[snapshot_id] = self._counts.get(snapshot_id, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._counts[snapshot_id] -= 1
                if not self._counts[snapshot_id]:
                    del self._counts[snapshot_id]

    @contextmanager
    def take(self, snapshot_id: str) -> Iterator[bool]:
        """Nobody reads it meanwhile; False, and not so, if somebody does."""
        with self._changed:
            granted = snapshot_id not in self._counts and snapshot_id not in self._taken
            if granted:
                self._taken.add(snapshot_id)
        try:
            yield granted
        finally:
            if granted:
                with self._changed:
                    self._taken.discard(snapshot_id)
                    self._changed.notify_all()
