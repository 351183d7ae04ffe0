"""Paths inside a root: resolved there, never outside."""

from __future__ import annotations

import os
from pathlib import Path

from native.constants import RESOLVE_IN_ROOT
from native.syscalls import openat2


def beneath(root: Path, path: str) -> Path | None:
    """Where *path* is, its symbolic links followed as inside *root*; None if there is nothing.

    source   openat2(2), RESOLVE_IN_ROOT
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = openat2(top, path.lstrip("/") or ".", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(top)
    try:
        return Path(os.readlink(f"/proc/self/fd/{found}"))
    finally:
        os.close(found)
