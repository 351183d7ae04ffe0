"""What is to be run, and what it may see: values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from native.mounts import Mount

SANDBOX_HOSTNAME = "buildkitsandbox"
"""What a command of a build takes its machine for; BuildKit's name, since scripts do look at it."""

# Docker's default set. source: moby/moby, oci/caps/defaults.go
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Something mounted over the root for one command: where, and how to make it there.

    target   absolute, inside the root; symbolic links in it are followed inside the root; what is missing is made
             (folders 0755 root) before the command and removed after it, if still empty
    kind     ``bind`` (of ``source``, a file or a folder), ``tmpfs``, or ``file`` (of ``content``, on a private tmpfs)
    keeps_mode   a tmpfs over a folder that was there has that one's mode, as runc makes it; else ``mode``
    movable  nobody else looks at ``source`` meanwhile: where nothing can be mounted it may be moved there and back
    secret   its content may in no way stay in the root
    """

    target: str
    kind: str
    source: Path | None = None
    content: bytes = b""
    read_only: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    keeps_mode: bool = False
    movable: bool = False
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command and its surroundings.

    root         mounts that make the root file system at ``root_path``, from ``Snapshotter.mounts``
    argv, env, cwd   as the command gets them; HOME and a default PATH are added if absent
    user         as USER says: name or id, ``:group``; resolved in the root's /etc/passwd and /etc/group
    extras       in order
    network      ``host`` or ``none``
    hosts        ``NAME:IP`` lines added to /etc/hosts
    security     ``sandbox``, or ``insecure``: all capabilities, no filter
    ulimits      (name, soft, hard), as setrlimit has them
    owners       a file that notes the owners which the command gives to links and special files, where the file system
                 cannot hold them; None: nobody wants to know. ``held_owners``: those that the root has already
    terminal     stdin, stdout and stderr are a terminal that becomes the controlling one
    group        folder of the control group that it is in from its first instruction on; "": ours
    """

    root: tuple[Mount, ...]
    root_path: Path
    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str = "/"
    user: str = ""
    extras: tuple[Extra, ...] = ()
    network: str = "host"
    hostname: str = SANDBOX_HOSTNAME
    hosts: tuple[str, ...] = ()
    security: str = "sandbox"
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    read_only: bool = False
    shm_size: int = 64 << 20
    ulimits: tuple[tuple[str, int, int], ...] = ()
    terminal: bool = False
    sysctls: tuple[tuple[str, str], ...] = field(default=())
    owners: Path | None = None
    held_owners: tuple[tuple[bytes, tuple[int, int]], ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a command ended: its exit code, or the signal that ended it (then ``code`` is 128 + signal).

    killed_in   where the kernel killed a process meanwhile since memory ran out: at the command's own ``limit``, in our
                control ``group``, on the ``machine`` (where the group's count is not to be seen), or nowhere
    """

    code: int
    signal: int = 0
    killed_in: str = ""
