"""Files that are whole or not there, and locks that die with their holder.

The durable way to write is always the same: write under a temporary name, fsync the file, rename it, fsync the
folder. Whoever is killed on the way leaves at most a file under ``tmp/``, which the next ``sweep`` removes. The cheap
way leaves both fsyncs out: after a power cut the file may be empty or short, so it is only for what says itself whether
it is whole (``sealed``) and can be computed again.

source   rename(2), flock(2), fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory
         containing the file has also reached disk"
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import StoreError


def _pass(point: str) -> None:
    """Go on."""


reached: Callable[[str], None] = _pass
"""Called with the name of each point at which a crash leaves something different behind; tests stop there."""


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Errors met while *path* is written, as StoreErrors: ``disk-full``, ``store-unwritable``, ``store-io``."""
    try:
        yield
    except OSError as e:
        raise explained(e, path) from e


def explained(error: OSError, path: Path) -> StoreError:
    """*error*, met while *path* was written, as a StoreError that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "the quota is used up" if error.errno == errno.EDQUOT else "no space left"
        return StoreError(
            f"{what} while writing {path}",
            code="disk-full",
            hint="free some space there, run `pybuild prune`, or choose another store with --root",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreError(
            f"cannot write {path}: {error.strerror}",
            code="store-unwritable",
            hint="choose a store that you can write to with --root",
        )
    limits = {errno.EFBIG: "ulimit -f unlimited", errno.EMFILE: "ulimit -n 4096"}
    if error.errno in limits:
        return StoreError(
            f"cannot write {path}: {error.strerror}", code="limit", hint=f"raise the limit: {limits[error.errno]}"
        )
    return StoreError(
        f"cannot write {path}: {error.strerror}",
        code="store-io",
        hint="its file system cannot do this, or is damaged: choose another store with --root",
    )


def write(path: Path, data: bytes, *, temporary: Path, durable: bool = True) -> None:
    """Put *data* at *path*, replacing what is there, in one step for every reader.

    temporary  a name in the same file system that nobody else uses
    durable    False: without fsync; *path* may be empty or short after a power cut (not after a mere kill)
    raises     StoreError
    """
    with storing(path):
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write_all(fd, data)
                reached("file-written")  # leaves: the temporary file, perhaps short; *path* as it was
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            reached("file-synced")  # leaves: the temporary file, whole; *path* as it was
            _rename(temporary, path)
        except OSError:
            discard(temporary)
            raise
        reached("file-renamed")  # leaves: the new *path*, which a power cut may still take back to the old one
        if durable:
            sync_folder(path.parent)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _rename(source: Path, target: Path) -> None:
    """rename(2), making the target's folder if it is not there."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        # leaves, if killed here: an empty folder, which hurts nobody
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.rename(source, target)


def publish(temporary: Path, path: Path, fd: int) -> None:
    """Give the written file *temporary*, open at *fd*, its final name *path*; durable when it returns."""
    reached("blob-written")  # leaves: the temporary file, perhaps short
    os.fsync(fd)
    reached("blob-synced")  # leaves: the temporary file, whole
    _rename(temporary, path)
    reached("blob-renamed")  # leaves: the whole file at *path*, whose name a power cut may still take away
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in the folder *path* durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def discard(path: Path) -> None:
    """Remove the file *path* if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # another process removed it, or it never was: what was wanted


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file *path*, waiting for it; the file stays, for whoever removed it would split the lock in two.

    The lock belongs to the open file: the kernel drops it when the last copy of the descriptor is gone, so a process
    that is killed leaves no lock. Threads of one process exclude each other too, for each opens the file anew.
    """
    with storing(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock what is open at *fd* without waiting; whether that succeeded."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
