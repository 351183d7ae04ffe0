"""Paths inside a root: resolved there, never outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builder.errors import ContextError
from native.constants import RESOLVE_IN_ROOT
from native.syscalls import openat2


def beneath(root: Path, path: str) -> Path | None:
    """Where *path* is, its symbolic links followed as inside *root*; None if there is nothing.

    raises   ContextError, code ``bad-source``: links in a circle, a name that is too long
    source   openat2(2), RESOLVE_IN_ROOT
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = openat2(top, path.lstrip("/") or ".", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        if e.errno not in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
        raise ContextError(f'"/{path.strip("/")}": {os.strerror(e.errno).lower()}', code="bad-source") from None
    finally:
        os.close(top)
    try:
        return Path(os.readlink(f"/proc/self/fd/{found}"))
    finally:
        os.close(found)
