"""The kernel's refusals at the gate, said as what is missing and the smallest mend.

source   clone(2), user_namespaces(7), newuidmap(1); bubblewrap and rootlesskit name the same settings
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builder.errors import HostError
from builder.sandbox.identity import Identity
from builder.sandbox.unexpected import MENDS

NO_USER_NAMESPACE = frozenset(
    {"user-namespaces-disabled", "no-user-namespaces", "user-namespaces-refused", "id-map-refused", "mounts-refused"}
)
"""Codes of the errors that say that this machine grants no user namespace, told before anything ran in one."""

_ASKED_FOR = ("user", "mnt", "pid")
_OF_COMMANDS = ("pid", "ipc", "uts", "net", "mnt")
_APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def clone_refused(error: OSError, who: Identity) -> HostError:
    """Why clone(2) made no namespaces."""
    what = "namespaces" if who.kind == "root" else "user namespaces"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        for kind in _ASKED_FOR:
            if _setting(f"/proc/sys/user/max_{kind}_namespaces") == "0":
                return HostError(
                    f"{kind} namespaces are turned off: user.max_{kind}_namespaces is 0",
                    code="user-namespaces-disabled",
                    hint=f"as root: sysctl -w user.max_{kind}_namespaces=28633",
                )
        return HostError(
            f"no more {what} can be made here: {error.strerror}",
            code="user-namespaces-disabled",
            hint="raise user.max_user_namespaces in the namespaces around this one, or nest less deeply",
        )
    if error.errno in (errno.ENOSYS, errno.EINVAL):
        return HostError(
            f"this kernel has no {what}",
            code="no-user-namespaces",
            hint="a kernel with CONFIG_USER_NS and CONFIG_PID_NS is needed, Linux 5.11 or later",
        )
    if error.errno == errno.EPERM and _setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return HostError(
            "user namespaces are refused to ordinary users: kernel.unprivileged_userns_clone is 0",
            code="user-namespaces-refused",
            hint="as root: sysctl -w kernel.unprivileged_userns_clone=1",
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return HostError(
            f"{what} are refused here, most likely by the container's seccomp profile",
            code="user-namespaces-refused",
            hint="start the container with a profile that allows clone and mount: podman's default one, "
            "or docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined; or "
            + ("leave its root Docker's default capabilities" if os.geteuid() == 0 else "start it as root"),
        )
    if error.errno in (errno.EAGAIN, errno.ENOMEM):  # no refusal: another identity would fare no better
        return HostError(
            f"no process can be started: {os.strerror(error.errno)}", code="no-processes", hint=MENDS[error.errno]
        )
    return HostError(f"{what} cannot be made: {error.strerror}", code="user-namespaces-refused")


def command_refused(error: OSError, *, new_network: bool) -> HostError:
    """Why clone(2) made no namespaces for a command, though the build has its own."""
    hint = "in a container, start it with a seccomp profile that allows clone with all namespaces: podman's default one"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        full = [name for name in _OF_COMMANDS if _setting(f"/proc/sys/user/max_{name}_namespaces") == "0"]
        hint = "raise user.max_pid_namespaces and its like, or nest less deeply"
        if full:
            hint = "as root: sysctl -w " + " ".join(f"user.max_{name}_namespaces=28633" for name in full)
            new_network = new_network and "net" in full
    elif error.errno in (errno.EAGAIN, errno.ENOMEM):
        hint = MENDS[error.errno]
    elif error.errno in (errno.EINVAL, errno.ENOSYS):
        hint = "a kernel with CONFIG_PID_NS, CONFIG_IPC_NS, CONFIG_UTS_NS and CONFIG_NET_NS is needed"
    if new_network and error.errno not in (errno.EAGAIN, errno.ENOMEM):
        hint += "; or do without --network=none"
    what = os.strerror(error.errno or 0)
    return HostError(f"no namespaces for a command: {what}", code="namespaces-refused", hint=hint)


def mount_refused(error: OSError) -> HostError:
    """Why not even "/" could be made private inside: a security module."""
    if _setting(_APPARMOR) == "1":
        return HostError(
            "user namespaces here may not mount: kernel.apparmor_restrict_unprivileged_userns is 1",
            code="mounts-refused",
            hint="as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    return HostError(
        f"mounting is refused inside the namespaces: {error.strerror}",
        code="mounts-refused",
        hint="in a container, start it with --security-opt apparmor=unconfined and a seccomp profile that allows mount",
    )


def map_refused(error: OSError) -> HostError:
    """Why the container's root may not map its own ids. source: user_namespaces(7), "Defining … mappings"."""
    return HostError(
        f"this root may not map its own ids: {error.strerror}",
        code="id-map-refused",
        hint="the container needs the capabilities SETUID, SETGID and SETFCAP (docker's default set has them)",
    )


def newuidmap_failed(program: str, text: str) -> HostError:
    """Why newuidmap or newgidmap wrote no map; *text* is its stderr."""
    hint = "check that it is installed setuid root, or with file capabilities"
    if _setting("/proc/self/status", "NoNewPrivs") == "1":
        hint = "no_new_privs is set, which makes setuid programs powerless: allow privilege escalation for this process"
    elif _setting(_APPARMOR) == "1":
        hint = "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    elif "Operation not permitted" in text:
        hint = (
            "in a container: setcap cap_setuid=ep newuidmap, setcap cap_setgid=ep newgidmap, and no setuid bit on them"
        )
    said = text.strip().splitlines()[-1].removeprefix(f"{program}: ") if text.strip() else "it said nothing"
    return HostError(f"{program} failed: {said}", code="newuidmap-failed", hint=hint)


def _setting(path: str, field: str | None = None) -> str | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None  # a kernel without this setting
    if field is None:
        return text.strip()
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(field + ":")), None)
