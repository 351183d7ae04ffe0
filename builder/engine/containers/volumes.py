"""VOLUME, when an image is run: a folder of its own for each, that begins with what the image holds there.

source   moby, container/container_unix.go, CopyImagePathContent
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.layer.removal import remove_tree
from builder.sandbox.command import Extra
from builder.snapshot.copying import copy_tree
from native import syscalls

if TYPE_CHECKING:
    from builder.snapshot.contract import Snapshot, Snapshotter
    from builder.store.store import Store


@contextmanager
def image_volumes(
    paths: Sequence[str], given: Sequence[Extra], snapshotter: Snapshotter, root: Snapshot | None, store: Store
) -> Iterator[tuple[Extra, ...]]:
    """The mounts of the volumes *paths*, those left out that *given* mounts anyway; removed at the end.

    So what a command writes there is in no diff and no commit, as with Docker.
    """
    targets = {os.path.normpath(extra.target) for extra in given}
    wanted = [path for path in paths if os.path.normpath(path) not in targets]
    if not wanted:
        yield ()
        return
    folder = store.tmp()
    try:
        extras = []
        for number, path in enumerate(sorted(wanted)):
            place = folder / str(number)
            if root is None or not _copied(snapshotter, root, path, place):
                place.mkdir(mode=0o755)
            extras.append(Extra(target=path, kind="bind", source=place, movable=True))
        yield tuple(extras)
    finally:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(os.fsencode(folder.name), parent)
        finally:
            os.close(parent)


def _copied(snapshotter: Snapshotter, root: Snapshot, path: str, place: Path) -> bool:
    """Copy the folder *path* of the image to *place*; False if there is none."""
    with snapshotter.view(root) as tree:
        base = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            fd = syscalls.openat2(base, path, flags, 0, syscalls.RESOLVE_IN_ROOT)
        except (FileNotFoundError, NotADirectoryError):
            return False
        finally:
            os.close(base)
        try:
            copy_tree(Path(os.readlink(f"/proc/self/fd/{fd}")), place)
        finally:
            os.close(fd)
    return True
