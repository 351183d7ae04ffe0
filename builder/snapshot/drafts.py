"""Drafts that are copies, with what they were when they began: what a command touched is found by that.

source   time(7), "The software clock, HZ, and jiffies"
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from builder.layer import index as indexing
from builder.layer.index import Index
from builder.snapshot.contract import Draft
from builder.snapshot.sameness import Parted, part

_TICK = 10_000_000
"""The longest time, in ns, for which two changes may have the same ctime: times come from a clock that advances with
the scheduler's tick (time(7), "The software clock, HZ, and jiffies")."""


@dataclass(slots=True, kw_only=True)
class CopiedDraft(Draft):
    """A draft that is a copy. ``before``: what it was; ``parted``: names of one file that are files of their own."""

    before: Index = field(default_factory=Index)
    parted: Parted = field(default_factory=list)


def ready(draft: CopiedDraft, now: Index) -> None:
    """Make a tree that was taken over, which is as *now* says, what a copy of it would be."""
    root = os.fsencode(draft.tree) + b"/"
    for path in now.sockets:
        above = os.path.dirname(root + path)
        times = os.stat(above).st_mtime_ns
        os.unlink(root + path)  # nobody listens any more
        os.utime(above, ns=(times, times))
        del now.known[path]
        now.linked = {inode: paths for inode, paths in now.linked.items() if path not in paths}
    now.sockets = []
    draft.before, draft.parted = now, part(draft.tree, now)


def wait(before: Index) -> None:
    """Until a change of anything has another ctime than it has now."""
    left = indexing.newest(before.known) + _TICK - time.time_ns()
    if left > 0:
        time.sleep(min(left, _TICK) / 1_000_000_000)


def put_back(draft: Draft, paths: Iterable[bytes]) -> None:
    """Remember *paths* of a copied tree as they are now: they were moved away and back, and nobody touched them.

    A rename changes the ctime, by which else they would be taken for changed. No other tree has such paths.
    """
    if not isinstance(draft, CopiedDraft):
        return
    known = draft.before.known
    for path in paths:
        if path in known:  # else it was made for a command, and is gone
            status = os.lstat(os.fsencode(draft.tree) + b"/" + path)
            known[path] = indexing.state(status), known[path][1]
