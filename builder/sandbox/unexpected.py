"""Exceptions that no room had anything to add to: the machine's refusals told as such, all others as our mistakes.

A call that the kernel, a seccomp profile or a file system refuses is no mistake of ours, wherever it is met: what is
said is what was refused and what to do. A file that is not there when we look for it is one.
"""

from __future__ import annotations

import errno
import os
import re

from builder.errors import BuilderError, HostError, InternalError, StoreError

_PROFILE = (
    "a seccomp profile, a security module or the file system refuses it: 'pybuild doctor' says what this machine allows"
)
_LACKING = (
    "Linux 5.11 or later is needed, and in a container a seccomp profile that knows its calls: a newer runtime, or"
    " docker run --security-opt seccomp=unconfined"
)
_PROCESSES = "raise the limit of processes: ulimit -u, or the container's pids limit"
_THREADS = f"{_PROCESSES}; Docker before 20.10.10 wants --security-opt seccomp=unconfined for newer programs' threads"
_MEMORY = "give the build more memory: ulimit -v unlimited, or a higher limit of the container"
_ROOM = "make room, or put the store elsewhere with --root; what was built so far is kept"
_NETWORK = "put the store on a local file system with --root"
MENDS = {
    errno.EPERM: _PROFILE,
    errno.EACCES: _PROFILE,
    errno.ENOSYS: _LACKING,
    errno.EINVAL: "'pybuild doctor' says what this machine allows",
    errno.EOPNOTSUPP: _NETWORK,
    errno.ENOLCK: _NETWORK,
    errno.ESTALE: _NETWORK,
    errno.EROFS: "put the store on a file system that can be written, with --root",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size: ulimit -f unlimited",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "raise the machine's limit of open files: sysctl fs.file-max",
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
    errno.EBUSY: "something else uses it: try again when that has ended",
    errno.EIO: "the disk or its file system is damaged: see the kernel's log",
}
"""What to do about an error of the system, by its number."""

_CALL = re.compile(r"\b(?:os|fcntl|signal|socket|resource|select|shutil|array)\.(\w+)\(")


def told(error: BaseException) -> BuilderError:
    """*error* as one for people."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # What is written behind the gate is written to the store.
        return StoreError(
            f"no room in the store: {error.strerror}",
            code="disk-full",
            hint="pybuild prune makes room, and --root puts the store elsewhere",
        )
    if isinstance(error, OSError) and (error.errno in MENDS or _lacks(error)):
        return of_system(error)
    if isinstance(error, MemoryError):
        return HostError("memory ran out", code="out-of-memory", hint=_MEMORY)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        # clone3 refused with EPERM, for which libc has no way around: Docker before 20.10.10 with a newer libc.
        return HostError("no thread can be started", code="no-threads", hint=_THREADS)
    return InternalError(f"{type(error).__name__}: {error}", code="internal")


def of_system(error: OSError) -> HostError:
    """An error of the system: what it is, of which file, and which call if that can be told."""
    if folder := _lacks(error):
        return HostError(
            f"{folder} is not as it has to be: there is no {os.fsdecode(error.filename)}",
            code=f"no{folder.replace('/', '-')}",
            hint=f"a chroot needs {folder} mounted: mount --rbind {folder} ROOT{folder}; a container has it by itself",
        )
    path = error.filename.decode("utf-8", "backslashreplace") if isinstance(error.filename, bytes) else error.filename
    place = f": {path}" if path is not None else ""
    name = errno.errorcode.get(error.errno or 0, "os-error").lower()
    what = (error.strerror or str(error) or type(error).__name__).lower()
    call = _call(error) if path is None and ": " not in what else ""
    mistake = HostError(f"{call}{what}{place}", code=name, hint=MENDS.get(error.errno or 0))
    mistake.__cause__ = error
    return mistake


def trace(error: BaseException) -> str:
    """Where in the program *error* arose. Without the lines themselves where the root is a command's: their files'
    names are the image's there, and a fifo of such a name would have us wait.
    """
    import traceback

    if _root() == _AT_HOME:
        return "".join(traceback.format_exception(error))
    frames = ((frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__))
    places = [f'  File "{code.co_filename}", line {line}, in {code.co_name}\n' for code, line in frames]
    return "".join(("Traceback (most recent call last):\n", *places, f"{type(error).__name__}: {error}\n"))


def _lacks(error: OSError) -> str:
    """Which of the system's own folders is not there, if that is what *error* says."""
    missing = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno != errno.ENOENT:
        return ""
    if missing.startswith("/proc/") and not os.path.exists("/proc/self"):
        return "/proc"
    return "/dev" if missing == "/dev/null" else ""


def _call(error: OSError) -> str:
    """The call that raised *error*, by the line of the program that did it; "" if that cannot be read, or has two."""
    last = error.__traceback__
    if last is None or _root() != _AT_HOME:
        return ""
    while last.tb_next is not None:
        last = last.tb_next
    # Only what fails pays for this import.
    import linecache

    calls = _CALL.findall(linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno))
    return f"{calls[0]}: " if len(calls) == 1 else ""


def _root() -> tuple[int, int]:
    status = os.stat("/")
    return status.st_dev, status.st_ino


_AT_HOME = _root()
