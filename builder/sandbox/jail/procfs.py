"""/proc and /sys for a command in a jail, where none can be mounted: a process outside answers for them.

The command's filter asks about every call that names a file. Of paths below /proc and /sys (and /dev/fd, /dev/stdout
and their like, which lead there) the answer is given here: a file is opened outside and its descriptor handed in,
statuses and links are written into the caller's memory. All others the kernel goes on with. A folder's descriptor is
never handed in, for ".." would lead out of the root: its names are copied into the root's own /proc, which is opened
then.

source   seccomp_unotify(2); proc(5)
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from builder.sandbox import orphans
from builder.sandbox.jail.answers import ANSWERED, Answers
from builder.sandbox.jail.procnames import ABOUT
from native import constants, notified, notify, syscalls
from native.notified import Watch
from native.notify import Listener

# The calls that name a file → where the path is among their arguments.
_PATH_AT = {
    **dict.fromkeys(("open", "stat", "lstat", "readlink", "access", "chmod", "chdir", "execve"), 0),
    **dict.fromkeys(("getxattr", "lgetxattr", "listxattr", "llistxattr"), 0),
    **dict.fromkeys(("openat", "openat2", "newfstatat", "statx", "readlinkat", "faccessat", "faccessat2"), 1),
    **dict.fromkeys(("fchmodat", "execveat"), 1),
}


def hand_over(channel: socket.socket) -> None:
    """In the command's process: filter it, and send the listener. Where none can be had /proc stays an empty folder."""
    try:
        listener = notify.listen(notified.program(_watches()))
    except OSError:
        # Another listener is there already (EBUSY), or the kernel is older than 5.0.
        channel.close()
        return
    socket.send_fds(channel, [b"l"], [listener])
    os.close(listener)
    channel.close()


def _watches() -> list[Watch]:
    # Whoever names an open folder means what is in it: with find, tar and rm -r those are most calls. That a process is
    # about to have another memory is to be known in any case.
    here = constants.AT_FDCWD & 0xFFFFFFFF
    return [Watch(call, equal=(0, here) if at and call != "execveat" else None) for call, at in _PATH_AT.items()]


def fork(become: Callable[[socket.socket], NoReturn], tree: Path, *, devices: bool) -> tuple[int, int]:
    """The process id of the one that answers, and a pipe that it tells the command's wait status by when that ends.

    It is the command's parent, and adopts its orphans: where a process may look at its descendants only, it may.

    become    is what the command's process calls, with the socket for ``hand_over``
    devices   there are devices in the root
    source    linux, Documentation/admin-guide/LSM/Yama.rst, "ptrace_scope"
    """
    told, telling = os.pipe()
    pid = os.fork()
    if pid:
        os.close(telling)
        return pid, told
    try:
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
        orphans.adopt()
        ours, theirs = socket.socketpair()
        ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            for fd in (told, telling, ended, wake):
                os.close(fd)
            ours.close()
            become(theirs)
        theirs.close()
        _, found, _, _ = socket.recv_fds(ours, 1, 1)
        about = ABOUT if devices else (*ABOUT, b"/dev/")
        _answer(Listener(found[0]) if found else None, tree, about, _Ends(child, ended, telling))
    finally:
        os._exit(1)


@dataclass(frozen=True, slots=True)
class _Ends:
    """command: its process;  woken: is readable when a child has ended;  telling: where the command's end is told."""

    command: int
    woken: int
    telling: int

    def reap(self) -> None:
        """Reap all that have ended; end with the command."""
        os.read(self.woken, 4096)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == self.command:
                os.write(self.telling, b"%d" % status)
                os._exit(0)
            if pid == 0:
                return


def _answer(listener: Listener | None, tree: Path, about: tuple[bytes, ...], ends: _Ends) -> NoReturn:
    poll = select.poll()
    poll.register(ends.woken, select.POLLIN)
    if listener is None:
        while True:
            poll.poll()
            ends.reap()
    poll.register(listener.fd, select.POLLIN)
    os.umask(0o022)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    outside = {name: os.open(f"/{name}", flags) for name in ("proc", "sys", "dev")}
    os.chroot(tree)
    os.chdir("/")
    answers = Answers(listener, outside, os.getpid(), about)
    calls = {
        key: (getattr(answers, f"on_{name}"), _PATH_AT[name])
        for key, name in notified.numbers().items()
        if name in _PATH_AT
    }
    while True:
        ready = poll.poll()
        if (ends.woken, select.POLLIN) in ready:
            ends.reap()
        if (listener.fd, select.POLLIN) not in ready:
            if ready[0][0] == listener.fd:  # nobody is filtered any more
                poll.unregister(listener.fd)
            continue
        call = listener.receive()
        if call is None:
            continue
        identifier, pid, _, number, architecture, _, *arguments = call
        value: int | None = None
        handler, at = calls.get((architecture, number & 0xFFFFFFFF), (None, 0))
        try:
            if handler is not None:
                value = answers.answer(handler, identifier, pid, arguments, at)
        except OSError as error:
            listener.fail(identifier, error.errno or 1)
            continue
        if value is None:
            listener.go_on(identifier)
        elif value != ANSWERED:
            listener.answer(identifier, value)
