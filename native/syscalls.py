"""The kernel's calls that ``os`` lacks: one function per call, which raises OSError(errno, "call: reason", path).

No policy here, and no memory between calls. Every descriptor that is returned is close-on-exec.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from native import constants
from native._kernel import ffi
from native.constants import RESOLVE_BENEATH as RESOLVE_BENEATH
from native.constants import RESOLVE_IN_ROOT as RESOLVE_IN_ROOT
from native.constants import RESOLVE_NO_MAGICLINKS as RESOLVE_NO_MAGICLINKS
from native.constants import RESOLVE_NO_SYMLINKS as RESOLVE_NO_SYMLINKS
from native.constants import RESOLVE_NO_XDEV as RESOLVE_NO_XDEV

Path = str | bytes | os.PathLike[str]

_libc = ffi.dlopen(None)
_MACHINE = os.uname().machine
# On any other machine the first call that is not in libc says ENOSYS.
_NUMBERS = constants.NUMBERS.get(_MACHINE, {})
_NULL = ffi.NULL
_MASK = (1 << 64) - 1


def _failed(call: str, path: Path | None = None) -> OSError:
    number = ffi.errno
    return OSError(number, f"{call}: {os.strerror(number)}", path)


def _call(name: str, *arguments: int) -> int:
    number = _NUMBERS.get(name)
    if number is None:
        # What the kernel says to a call it does not know.
        ffi.errno = errno.ENOSYS
        return -1
    padded = [argument & _MASK for argument in arguments] + [0] * (6 - len(arguments))
    return int(_libc.syscall(number, *padded))


def _address(data: object) -> int:
    return int(ffi.cast("uintptr_t", data))


def _text(path: Path) -> object:
    return ffi.new("char[]", os.fsencode(path))


# Paths


def openat2(dirfd: int, path: Path, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """A descriptor of *path* under *dirfd*, resolved as RESOLVE_* say. source: openat2(2), since Linux 5.6."""
    text = _text(path)
    how = ffi.new("struct open_how *", (flags | os.O_CLOEXEC, mode, resolve))
    fd = _call("openat2", dirfd, _address(text), _address(how), ffi.sizeof("struct open_how"))
    if fd < 0:
        raise _failed("openat2", path)
    return fd


def renameat2(old_dirfd: int, old: Path, new_dirfd: int, new: Path, flags: int = 0) -> None:
    """Rename, with RENAME_NOREPLACE, RENAME_EXCHANGE or RENAME_WHITEOUT. source: rename(2)."""
    old_text, new_text = _text(old), _text(new)
    if _call("renameat2", old_dirfd, _address(old_text), new_dirfd, _address(new_text), flags) < 0:
        raise _failed("renameat2", new)


def ficlone(target: int, source: int) -> None:
    """Make *target* share all blocks of *source*; EOPNOTSUPP, EXDEV, EINVAL where that cannot be. ioctl_ficlone(2)."""
    # Only copies want it, and a build that is all hits copies nothing.
    import fcntl

    fcntl.ioctl(target, constants.FICLONE, source)


def syncfs(fd: int) -> None:
    """Write back the file system that *fd* is on. source: syncfs(2)."""
    if _libc.syncfs(fd) < 0:
        raise _failed("syncfs")


# Mounts


def mount(source: Path, target: Path, kind: str = "", flags: int = 0, data: str | bytes = "") -> None:
    """mount(2). EINVAL for data of a page or more, which the kernel would cut without a word."""
    options = os.fsencode(data)
    if len(options) >= 4096:
        raise OSError(22, "mount: options of 4096 bytes or more", target)
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, options or _NULL) < 0:
        raise _failed("mount", target)


def umount(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    if _libc.umount2(os.fsencode(target), flags) < 0:
        raise _failed("umount2", target)


def pivot_root(new_root: Path, put_old: Path) -> None:
    """pivot_root(2)."""
    new_text, old_text = _text(new_root), _text(put_old)
    if _call("pivot_root", _address(new_text), _address(old_text)) < 0:
        raise _failed("pivot_root", new_root)


def open_tree(path: Path, flags: int, dirfd: int = constants.AT_FDCWD) -> int:
    """A descriptor of the mount at *path*; with OPEN_TREE_CLONE of a detached copy. open_tree(2), since Linux 5.2."""
    text = _text(path)
    fd = _call("open_tree", dirfd, _address(text), flags | constants.OPEN_TREE_CLOEXEC)
    if fd < 0:
        raise _failed("open_tree", path)
    return fd


def mount_setattr(fd: int, path: Path, set_attributes: int, *, flags: int = 0, clear: int = 0) -> None:
    """Change attributes of the mount at *path* under *fd*. source: mount_setattr(2), since Linux 5.12."""
    text = _text(path)
    attributes = ffi.new("struct mount_attr *", (set_attributes, clear, 0, 0))
    size = ffi.sizeof("struct mount_attr")
    if _call("mount_setattr", fd, _address(text), flags, _address(attributes), size) < 0:
        raise _failed("mount_setattr", path)


def move_mount(fd: int, target: Path) -> None:
    """Attach the detached mount *fd* at *target*, links followed as mount(2) does. move_mount(2), since Linux 5.2."""
    empty, text = _text(""), _text(target)
    flags = constants.MOVE_MOUNT_F_EMPTY_PATH | constants.MOVE_MOUNT_T_SYMLINKS
    if _call("move_mount", fd, _address(empty), constants.AT_FDCWD, _address(text), flags) < 0:
        raise _failed("move_mount", target)


def fsopen(kind: str) -> int:
    """A context in which a file system of *kind* is configured. source: fsopen(2), since Linux 5.2."""
    text = _text(kind)
    fd = _call("fsopen", _address(text), constants.FSOPEN_CLOEXEC)
    if fd < 0:
        raise _failed(f"fsopen {kind}")
    return fd


def fsconfig(fd: int, command: int, key: str | None = None, value: Path | None = None) -> None:
    """One step of configuring *fd*: FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING or FSCONFIG_CMD_CREATE. fsconfig(2)."""
    key_text = _text(key) if key is not None else _NULL
    value_text = _text(value) if value is not None else _NULL
    if _call("fsconfig", fd, command, _address(key_text), _address(value_text), 0) < 0:
        raise _failed(f"fsconfig {key}" if key is not None else "fsconfig", value)


def fsmount(fd: int, attributes: int = 0) -> int:
    """A detached mount of what was configured in *fd*. source: fsmount(2)."""
    mounted = _call("fsmount", fd, constants.FSMOUNT_CLOEXEC, attributes)
    if mounted < 0:
        raise _failed("fsmount")
    return mounted


def probe_mount_calls() -> None:
    """Whether fsmount(2) and move_mount(2) are there and allowed, asked with a descriptor that is none.

    raises   OSError, whatever refuses one of them before it looks at the descriptor
    """
    calls: tuple[Callable[[], object], ...] = (lambda: fsmount(-1), lambda: move_mount(-1, "/"))
    for call in calls:
        try:
            call()
        except OSError as error:
            if error.errno != errno.EBADF:
                raise


# Processes and namespaces


def clone(flags: int) -> int:
    """Fork into new namespaces, in one call: 0 in the child, its process id in the parent.

    The interpreter is as sane after it as after ``os.fork``, except that libc's own fork handlers do not run: another
    thread that is inside malloc just then leaves the child's heap locked. So call it where there is one thread.

    flags    CLONE_NEW*, or 0
    source   clone(2), "C library/kernel differences"; CPython, Modules/posixmodule.c, os_fork_impl
    """
    # cffi lets go of the GIL around a call, and a child that finds it held by a thread which it lacks waits for ever.
    # ctypes.PyDLL keeps it. Only whoever clones pays for the import.
    import ctypes
    import signal

    keeping = ctypes.PyDLL(None, use_errno=True)
    call = keeping.syscall
    call.restype = ctypes.c_long
    zero = ctypes.c_ulong(0)
    number, bits = ctypes.c_long(_NUMBERS.get("clone", -1)), ctypes.c_ulong(flags | signal.SIGCHLD)
    before, after_child = keeping.PyOS_BeforeFork, keeping.PyOS_AfterFork_Child
    after_parent = keeping.PyOS_AfterFork_Parent
    before.restype = after_child.restype = after_parent.restype = None
    # A signal's handler that raises between these lines would leave the interpreter half forked.
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    before()
    pid = int(call(number, bits, zero, zero, zero, zero))
    error = ctypes.get_errno()
    if pid == 0:
        after_child()
    else:
        after_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if pid < 0:
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A descriptor of what the process of *pidfd* has open as *fd*. source: pidfd_getfd(2), since Linux 5.6."""
    found = _call("pidfd_getfd", pidfd, fd, 0)
    if found < 0:
        raise _failed("pidfd_getfd")
    return found


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _libc.unshare(flags) < 0:
        raise _failed("unshare")


def setns(fd: int, kind: int = 0) -> None:
    """Enter the namespace that *fd* stands for. source: setns(2)."""
    if _libc.setns(fd, kind) < 0:
        raise _failed("setns")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    text = name.encode()
    if _libc.sethostname(text, len(text)) < 0:
        raise _failed("sethostname")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2) with PR_* and up to four numbers."""
    padded = [argument & _MASK for argument in arguments] + [0] * (4 - len(arguments))
    result = int(_libc.prctl(option, *padded))
    if result < 0:
        raise _failed(f"prctl {option}")
    return result


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capability sets, as bit masks. source: capset(2)."""
    header = ffi.new("struct __user_cap_header_struct *", (constants.LINUX_CAPABILITY_VERSION_3, 0))
    low = (1 << 32) - 1
    words = [[word & low for word in (effective, permitted, inheritable)]]
    words.append([word >> 32 for word in (effective, permitted, inheritable)])
    data = ffi.new("struct __user_cap_data_struct[2]", words)
    if _call("capset", _address(header), _address(data)) < 0:
        raise _failed("capset")


def seccomp(program: bytes, flags: int = 0) -> int:
    """Filter this thread's calls, and its descendants', for ever, by a BPF program. source: seccomp(2).

    returns  with SECCOMP_FILTER_FLAG_NEW_LISTENER the listener, a descriptor; else 0
    """
    instructions = ffi.from_buffer("struct sock_filter[]", program)
    holder = ffi.new("struct sock_fprog *", {"len": len(instructions), "filter": instructions})
    result = _call("seccomp", constants.SECCOMP_SET_MODE_FILTER, flags, _address(holder))
    if result < 0:
        raise _failed("seccomp")
    return result


def scope(what: int) -> None:
    """Keep this thread, and all that it starts, for ever from *what* beyond them: LANDLOCK_SCOPE_*.

    Needs CAP_SYS_ADMIN, or no_new_privs.

    raises   OSError: E2BIG before Linux 6.12, and where sixteen such scopes lie around; ENOSYS, EOPNOTSUPP without
             Landlock
    source   landlock(7); landlock_create_ruleset(2), landlock_restrict_self(2)
    """
    attributes = ffi.new("struct landlock_ruleset_attr *", (0, 0, what))
    size = ffi.sizeof("struct landlock_ruleset_attr")
    ruleset = _call("landlock_create_ruleset", _address(attributes), size, 0)
    if ruleset < 0:
        raise _failed("landlock_create_ruleset")
    try:
        if _call("landlock_restrict_self", ruleset, 0) < 0:
            raise _failed("landlock_restrict_self")
    finally:
        os.close(ruleset)


class Memory:
    """The memory of other processes. Its buffers are made once, for a supervisor reads with each call; for one thread.

    source   process_vm_readv(2)
    """

    def __init__(self) -> None:
        self._buffer = ffi.new("char[4096]")
        self._ours = ffi.new("struct iovec *", (_address(self._buffer), 0))
        self._theirs = ffi.new("struct iovec *")
        self._pointers = _address(self._ours), _address(self._theirs)
        self.address = _address(self._buffer)
        """Where memory of our own is."""

    def read(self, pid: int, address: int, size: int) -> bytes:
        """At most *size* bytes (4096 at the most) at *address*. raises OSError."""
        return bytes(ffi.buffer(self._buffer, self._call("process_vm_readv", pid, address, size)))

    def write(self, pid: int, address: int, data: bytes) -> None:
        """Write *data* (4096 bytes at the most) at *address*. raises OSError, EFAULT if not all of it can be."""
        ffi.memmove(self._buffer, data, len(data))
        if self._call("process_vm_writev", pid, address, len(data)) != len(data):
            raise OSError(14, f"process_vm_writev: {os.strerror(14)}")

    def _call(self, name: str, pid: int, address: int, size: int) -> int:
        ours, theirs = self._pointers
        self._ours.iov_len = self._theirs.iov_len = min(size, 4096)
        self._theirs.iov_base = address
        count = int(_libc.syscall(_NUMBERS[name], pid, ours, 1, theirs, 1, 0))
        if count < 0:
            raise _failed(name)
        return count
