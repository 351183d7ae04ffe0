"""What of a command is supervised here, and the command's side of it: the filter that asks.

Behind the gate the kernel refuses what only the first user namespace's root may do: to give files to ids that are not
mapped, and to make devices. Where that can happen, those calls go to a supervisor, which records what was wanted
(``layer.ownership``); all others run at full speed, for the filter decides by the calls' arguments. Where one id only
is mapped, root's, the ids of processes are the supervisor's too: it answers who they are, and whose their files are.

What is emulated is who owns what. Who may do what is not: a program run by another user than root may do what root may.
"""

from __future__ import annotations

import os
import resource
import socket
from dataclasses import dataclass

from builder.errors import HostError, InternalError
from builder.layer import ownership
from native import constants, notified, notify
from native.notified import Watch

# linux/proc_ns.h, PROC_USER_INIT_INO: what stat(2) says of the first user namespace
_FIRST_NAMESPACE = 0xEFFFFFFD
RLIMIT_LOCKS = 10
"""Where the credentials of an emulated process are kept: see ``identities``."""
_O_CREAT = 0o100
_O_TMPFILE = 0o20000000  # without O_DIRECTORY, whose bit differs between machines

_ASKED_ABOUT_ALWAYS = (
    *("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"),
    *("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "capset"),
    *("stat", "fstat", "lstat", "newfstatat", "statx", "stat64", "fstat64", "lstat64", "fstatat64"),
    *("creat", "openat2", "mkdir", "mkdirat", "symlink", "symlinkat", "mknod", "mknodat", "execve", "execveat"),
    *("rename", "renameat", "renameat2", "link", "linkat", "chroot"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """mark: the ids from which on the supervisor is asked; single: only root's id is mapped."""

    mark: tuple[int, int]
    single: bool


def supervision() -> Supervision | None:
    """What this process's commands need; None where the kernel refuses them nothing."""
    if os.stat("/proc/self/ns/user").st_ino == _FIRST_NAMESPACE:
        return None
    able = ownership.ids()
    return Supervision(mark=able.mark, single=able.uids == ((0, 1),))


def watches(wanted: Supervision) -> list[Watch]:
    """The calls that the supervisor is asked about."""
    uid, gid = wanted.mark
    found = [
        Watch("chown", ids=((1, uid), (2, gid))),
        Watch("lchown", ids=((1, uid), (2, gid))),
        Watch("fchown", ids=((1, uid), (2, gid))),
        Watch("fchownat", ids=((2, uid), (3, gid))),
    ]
    if not wanted.single:
        return [*found, Watch("mknod", device=1), Watch("mknodat", device=2), Watch("chroot")]
    made = _O_CREAT | _O_TMPFILE
    found += [Watch("open", bits=(1, made)), Watch("openat", bits=(2, made))]
    found += [Watch("setrlimit", equal=(0, RLIMIT_LOCKS)), Watch("prlimit64", equal=(1, RLIMIT_LOCKS))]
    found.append(Watch("getsockopt", equal=(2, socket.SO_PEERCRED)))
    found.append(Watch("prctl", equal=(0, constants.PR_SET_KEEPCAPS)))
    return [*found, *map(Watch, _ASKED_ABOUT_ALWAYS)]


def hand_over(wanted: Supervision, channel: socket.socket, root: int) -> None:
    """In the command's process: filter it, and send the listener, and its *root*, to whoever supervises it.

    raises   HostError where the command could not work without: no listener can be had; InternalError if the server
             is gone
    """
    if wanted.single:
        # Root's credentials: whatever limit we were started with would be somebody's place among them.
        resource.setrlimit(RLIMIT_LOCKS, (0, resource.prlimit(0, RLIMIT_LOCKS)[1]))
    try:
        listener = notify.listen(notified.program(watches(wanted)))
    except OSError as error:
        if not wanted.single:
            return  # the kernel itself answers, as it would without us: with EINVAL and EPERM
        raise HostError(
            f"the ids of processes cannot be emulated here: {error.strerror}",
            code="no-supervisor",
            hint="Linux 5.5 or later is needed, and no supervisor around this one; or subordinate ids in /etc/subuid"
            " and /etc/subgid, with newuidmap",
        ) from None
    try:
        socket.send_fds(channel, [b"l"], [listener, root])
    except OSError:
        raise InternalError("the command server ended", code="server-gone") from None
    os.close(listener)
