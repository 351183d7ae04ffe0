"""File systems to keep a store on: each made in a file, mounted, and gone afterwards. Only root can."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from native import constants, syscalls

# The smallest that their tools make without being asked twice.
_SIZES = {"ext4": 160, "xfs": 320, "btrfs": 160}
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
KINDS = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")
PROGRAMS = tuple(words[0] for words in _MAKE.values())


@contextmanager
def mounted(kind: str, folder: Path, *, megabytes: int | None = None, options: str = "") -> Iterator[Path]:
    """A new file system of *kind*, mounted below *folder* (which is made); everybody may write to it.

    megabytes  how large; ``overlay`` is as large as what it lies on
    options    mount(8)'s, ``nosuid,nodev``
    """
    place = folder / "place"
    place.mkdir(parents=True)
    words = ["mount", *(["-o", options] if options else [])]
    if kind == "tmpfs":
        size = f"size={megabytes or 512}m"
        subprocess.run([*words, "-t", "tmpfs", "-o", size, "tmpfs", place], check=True)
    elif kind == "overlay":
        for name in ("lower", "upper", "work"):
            (folder / name).mkdir()
        layers = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        subprocess.run([*words, "-t", "overlay", "-o", layers, "overlay", place], check=True)
    else:
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate((megabytes or _SIZES[kind]) << 20)
        subprocess.run([*_MAKE[kind], image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", f"loop,{options or 'rw'}", "-t", kind, image, place], check=True)
    try:
        place.chmod(0o1777)
        yield place
    finally:
        # What a test left running may still be in it: it is taken out of sight, and goes with the last user.
        syscalls.umount(place, constants.MNT_DETACH)
