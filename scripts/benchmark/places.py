"""Where builders work while they are measured: a file system that nothing has been deleted from."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worlds.processes import remove_tree, unmount_below

_SIZE = 200 << 30  # of a sparse file: it takes what is written


@contextlib.contextmanager
def scratch_folder(wanted: Path | None) -> Iterator[Path]:
    """A folder for a whole run, gone afterwards. Its name is short: a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=wanted or "/var/tmp"))
    try:
        yield folder
    finally:
        remove_tree(folder)


@contextlib.contextmanager
def fresh_place(folder: Path, name: str) -> Iterator[Path]:
    """A place *name* in *folder*: for root an ext4 of its own, for others a plain folder.

    ext4 passes over inodes that were deleted in the last minutes, one by one (recently_deleted() in fs/ext4/ialloc.c):
    to make 20,000 files where as many have just been removed was measured to take 12 s, and 0.7 s elsewhere. So one
    builder's clearing up would be charged to the next. Here nothing is removed but the whole file system.
    """
    place = folder / name
    place.mkdir()
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(_own_filesystem(folder / f"{name}.img", place))
        try:
            yield place
        finally:
            unmount_below(place, itself=False)
    remove_tree(place)


@contextlib.contextmanager
def _own_filesystem(image: Path, place: Path) -> Iterator[None]:
    with image.open("wb") as file:
        file.truncate(_SIZE)
    device = ""
    try:
        try:
            _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", str(image))
            device = _run("losetup", "--find", "--show", "--direct-io=on", str(image))
            _run("mount", device, str(place))
        except (OSError, subprocess.CalledProcessError):  # no loop devices or no mkfs here: the folder must do
            yield
            return
        try:
            yield
        finally:
            _run("umount", "--lazy", str(place))
    finally:
        if device:
            _run("losetup", "--detach", device)
        image.unlink()


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
