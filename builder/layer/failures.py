"""Errors of the system, met while a tree is filled, as errors for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from builder.errors import BuilderError, ImageError, StoreError


@contextmanager
def translated(what: str, path: Iterable[bytes]) -> Iterator[None]:
    """Errors of the system as errors for people. *path* gives the path that is being worked on when asked."""
    try:
        yield
    except BuilderError:
        raise
    except OSError as e:
        raise _for_people(e, what, os.fsdecode(next(iter(path), b""))) from e


def _for_people(e: OSError, what: str, path: str) -> BuilderError:
    if e.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EXDEV, errno.EISDIR):
        return ImageError(f"{what}: {path!r}: {os.strerror(e.errno)}", code="malformed-archive")
    said = f"{what}: {path!r}: {e.strerror or e}"
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(said, code="disk-full", hint="pybuild prune makes room, and --root puts the store elsewhere")
    return StoreError(said, code="cannot-unpack", hint=_MENDS.get(e.errno or 0))


_REFUSED = "the store's file system or a seccomp profile refuses it: 'pybuild doctor' says what works, --root moves it"
_MENDS = {
    errno.EMLINK: "the store's file system allows no more names of one file: xfs and tmpfs do, --root puts the store"
    " there",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.EFBIG: "raise the limit of a file's size: ulimit -f unlimited",
    errno.EPERM: _REFUSED,
    errno.EACCES: _REFUSED,
    errno.ENOSYS: _REFUSED,
    errno.EINVAL: _REFUSED,
    errno.EOPNOTSUPP: _REFUSED,
}
