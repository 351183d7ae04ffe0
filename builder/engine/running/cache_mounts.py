"""RUN --mount=type=cache: folders of the store that outlive builds, found by id, locked as they are to be shared.

::

    mounts/<identities>/<digest of id and seed>/id          the id, for people
                                                /shared/tree     what commands see;  private0, private1 … likewise

Locks are flock(2): the kernel drops them with the process, and a killed build blocks nobody.

source   Dockerfile reference, "RUN --mount=type=cache"; BuildKit, solver/llbsolver/mounts/mount.go
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.image.names import Digest
from builder.layer import ownership
from builder.plan.steps import CacheMount, ContextInput, Input, ScratchInput

if TYPE_CHECKING:
    from builder.engine.position import Walk

_STRICTER = ("shared", "locked", "private")


def held_caches(
    mounts: Sequence[CacheMount],
    root: Path,
    walk: Walk,
    fill: Callable[[CacheMount, Path], None],
    stack: ExitStack,
    *,
    alone: bool = False,
) -> Mapping[str, Path]:
    """Where the command finds each cache, by ``cache_name``; held until *stack* is closed.

    root   the folder of all caches
    fill   copies a new cache's seed into an empty folder
    alone  no other command has it meanwhile, even if it is to be shared: it will be moved, where it cannot be mounted

    A command that mounts one cache twice has it once, under the strictest of the ways that it is to be shared. Locks
    are taken in the order of names: commands that want several never wait for each other in a circle.
    """
    wanted: dict[str, CacheMount] = {}
    for mount in mounts:
        name = cache_name(mount, walk)
        other = wanted.get(name, mount)
        wanted[name] = max(other, mount, key=lambda one: _STRICTER.index(one.sharing))
    found = {}
    for name in sorted(wanted):
        mount, folder = wanted[name], root / name
        sharing = "locked" if alone and mount.sharing == "shared" else mount.sharing
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "id").write_text(mount.id)
        found[name] = _tree(_hold(folder, sharing, stack), mount, fill)
    return found


def cache_name(mount: CacheMount, walk: Walk) -> str:
    """What tells one cache from another: its id, and what it began with."""
    seed = "" if mount.input is None else _seed(mount.input, walk)
    return Digest.of(f"{len(mount.id)}:{mount.id}{seed}:{mount.source if seed else ''}".encode()).hex[:32]


def _seed(of: Input, walk: Walk) -> str:
    return f"context:{of.name}" if isinstance(of, ContextInput) else f"root:{walk.position_of(of).snapshot}"


def _hold(folder: Path, sharing: str, stack: ExitStack) -> Path:
    """The folder of this cache that the command gets: the shared one, that one alone, or one that nobody else has."""
    if sharing == "private":
        number = 0
        while True:
            place = folder / f"private{number}"
            if _lock(place, fcntl.LOCK_EX | fcntl.LOCK_NB, stack):
                return place
            number += 1
    place = folder / "shared"
    _lock(place, fcntl.LOCK_EX if sharing == "locked" else fcntl.LOCK_SH, stack)
    return place


def _tree(place: Path, mount: CacheMount, fill: Callable[[CacheMount, Path], None]) -> Path:
    tree = place / "tree"
    if tree.exists():
        return tree
    with ExitStack() as filling:
        # Several that share it may find it empty at once. This lock is held by nobody for longer than it takes to fill.
        _lock(place / "filling", fcntl.LOCK_EX, filling)
        if not tree.exists():
            fresh = place / "fresh"
            if fresh.exists():  # left by one that was killed while it was at it
                shutil.rmtree(fresh)
            fresh.mkdir(mode=0o755)
            if mount.input is None or isinstance(mount.input, ScratchInput):
                os.chmod(fresh, mount.mode)
                ownership.give(str(fresh), mount.uid, mount.gid)
            else:
                fill(mount, fresh)
            os.rename(fresh, tree)
    return tree


def _lock(place: Path, how: int, stack: ExitStack) -> bool:
    place.mkdir(exist_ok=True)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return False
    stack.callback(os.close, descriptor)
    return True
