"""Where an output goes: a file that appears whole or not at all, or a stream that cannot be taken back.

A file is written without any name (open(2), "O_TMPFILE") and gets its name when it is complete, so that whoever is
killed leaves nothing; where the file system cannot do that, under a temporary name beside the destination. There is no
fsync: an output can be made again, from a store that is durable.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import HostError, ImageError
from builder.layer.removal import remove_tree

STDOUT = "-"
_PIECE = 1 << 30
_BUFFER = 1 << 20


@contextmanager
def writing(dest: str | Path) -> Iterator[int]:
    """A descriptor to write *dest* with; ``-`` is stdout.

    The file has its name when the block ends without an error, and else is not there, or as it was. What is neither
    file nor absent (a device, a pipe) is written to as it is.

    raises   HostError ``disk-full``, ``output-unwritable``, ``output-is-folder``, or ``output-closed`` when the
             reader of a pipe went away
    """
    if str(dest) == STDOUT:
        with explaining("the standard output"):
            _widen(1)
            yield 1
        return
    path = Path(dest)
    with explaining(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)  # as buildx does
        else:
            if stat.S_ISDIR(status.st_mode):
                raise HostError(f"the destination {path} is a folder", code="output-is-folder", hint="name a file")
            if not stat.S_ISREG(status.st_mode):
                yield from _existing(path)
                return
            path = path.resolve()  # behind a link: the link stays, what it names is replaced
        yield from _replacing(path)


def _existing(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _widen(fd)
        yield fd
    finally:
        os.close(fd)


def _widen(fd: int) -> None:
    """Give a pipe a megabyte instead of 64 KiB: measured, 5 GB/s instead of 0.4. fcntl(2), "F_SETPIPE_SZ"."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _BUFFER)
    except OSError:
        pass  # no pipe, or the user's share of pipe memory is used up


def _replacing(path: Path) -> Iterator[int]:
    temporary = path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}")
    named = False
    try:
        fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError as e:
        # open(2): EOPNOTSUPP where the file system has no O_TMPFILE; EISDIR and ENOENT from kernels without it.
        # EPERM, ENOSYS: a seccomp profile.
        if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM, errno.ENOSYS):
            raise
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        named = True
    try:
        yield fd
        if not named:
            # open(2), "O_TMPFILE": linkat(2) of /proc/self/fd/N with AT_SYMLINK_FOLLOW gives the file a name. Python
            # calls linkat only when it is given a folder, which an absolute path leaves unused: any descriptor will do.
            named = True
            try:
                os.link(f"/proc/self/fd/{fd}", temporary, src_dir_fd=fd, follow_symlinks=True)
            except OSError as e:
                if e.errno not in _CANNOT:  # EPERM: a file system without links, link(2)
                    raise
                _copy_to(fd, temporary)
        # leaves, if killed here: the complete file under its temporary name
        os.rename(temporary, path)
        named = False
    finally:
        os.close(fd)
        if named:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _copy_to(fd: int, path: Path) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        while _move(fd, copy, _PIECE):
            pass
    finally:
        os.close(copy)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """The folder *path* as it is, or a new one that gets this name when the block ends without an error."""
    if os.path.lexists(path):
        path.mkdir(exist_ok=True)
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # leaves, if killed before the rename: this folder beside the destination
    temporary = path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}")
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, path)
    except BaseException:  # an interrupt, too, must leave no half of a folder
        _remove(temporary)
        raise


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """What is made at *path* in the block is removed if that ends with an error; what was there before stays."""
    there = os.path.lexists(path)
    try:
        yield
    except BaseException:  # an interrupt, too, must leave nothing
        if not there and os.path.lexists(path):
            _remove(path)
        raise


def _remove(folder: Path) -> None:
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(os.fsencode(folder.name), parent)
    finally:
        os.close(parent)


@contextmanager
def explaining(path: str | Path) -> Iterator[None]:
    """Errors of the system while an output is written, as HostErrors that name *path*."""
    try:
        yield
    except BrokenPipeError:
        raise HostError(f"whoever read {path} went away before the end", code="output-closed") from None
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostError(
                f"no space left while writing {path}", code="disk-full", hint="free some space, or write elsewhere"
            ) from e
        raise HostError(f"cannot write {path}: {e.strerror}", code="output-unwritable") from e


def write_all(fd: int, data: bytes | memoryview) -> None:
    """All of *data* to a descriptor, however little it takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy_file(source: Path, fd: int, size: int) -> None:
    """*size* bytes of the file *source* to where *fd* stands, by the kernel where it can.

    raises   ImageError ``missing-blob`` if the file cannot be read, ``size-mismatch`` if it has another size
    """
    try:
        file = open(source, "rb", buffering=0)  # noqa: SIM115 (closed by the next block)
    except OSError as e:
        raise ImageError(f"cannot read {source}: {e.strerror}", code="missing-blob") from None
    with file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise ImageError(f"{source} has {found} bytes, not {size}", code="size-mismatch")
        left = size
        while left:
            moved = _move(file.fileno(), fd, left)
            if moved == 0:
                raise ImageError(f"{source} shrank while it was read", code="size-mismatch")
            left -= moved


def _move(source: int, target: int, size: int) -> int:
    """Some of *size* bytes from descriptor to descriptor; how many. The fastest way is tried first each time."""
    # copy_file_range(2) shares blocks where the file system can (aligned ranges on btrfs and XFS), and otherwise copies
    # inside the kernel; sendfile(2) also writes to pipes and sockets; plain reading and writing always works.
    for attempt in (os.copy_file_range, _send):
        try:
            return attempt(source, target, min(size, _PIECE))
        except OSError as e:
            # EXDEV, EINVAL, EBADF, EOPNOTSUPP, ENOSYS, EPERM (seccomp profiles): it cannot do this pair of files.
            if e.errno not in _CANNOT:
                raise
    data = os.read(source, min(size, _BUFFER))
    write_all(target, data)
    return len(data)


_CANNOT = (errno.EXDEV, errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)


def _send(source: int, target: int, size: int) -> int:
    return os.sendfile(target, source, None, size)
