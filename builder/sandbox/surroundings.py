"""What a command finds around itself in its root: /proc, /sys, /dev, names, and the extras of its step.

All is mounted before the root is switched, on descriptors that ``Points`` found inside the root; sources are the old
root's. The values are those of BuildKit's runc specification, which are Docker's.

source   containerd pkg/oci/mounts.go, defaultMounts; spec.go, MaskedPaths; runc libcontainer/rootfs_linux.go
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from builder.errors import HostError
from builder.layer import ownership
from builder.sandbox.command import Command, Extra
from builder.sandbox.stubs import Points
from native import constants, syscalls
from native.mounts import Mount, perform

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
# What security=insecure adds, where the host has it. source: BuildKit util/entitlements/security
_MORE_DEVICES = ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control", *(f"loop{number}" for number in range(8)))
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


def mount_proc(points: Points) -> None:
    """A fresh /proc of the command's own pid namespace; where the container around us masks its own, that one.

    source   mount_namespaces(7): the kernel refuses a new proc that would show more than every existing one
    """
    target = points.find("/proc", folder=True, kept=True)
    try:
        perform(Mount(kind="proc", target=_name(target), nosuid=True, nodev=True, noexec=True))
    except OSError:
        perform(Mount(kind="rbind", source=Path("/proc"), target=_name(target)))
    finally:
        os.close(target)


def mount_sys(points: Points, *, read_only: bool) -> None:
    """A fresh /sys, which the kernel grants with the network namespace only; else the one around us. And cgroups."""
    target = points.find("/sys", folder=True, kept=True)
    try:
        perform(Mount(kind="sysfs", target=_name(target), read_only=read_only, nosuid=True, nodev=True, noexec=True))
    except OSError:
        perform(Mount(kind="rbind", source=Path("/sys"), target=_name(target), read_only=read_only))
        return
    finally:
        os.close(target)
    with suppress(OSError):  # a kernel without cgroups has no such folder; a build does without
        cgroups = points.find("/sys/fs/cgroup", folder=True, kept=True)
        try:
            perform(Mount(kind="rbind", source=Path("/sys/fs/cgroup"), target=_name(cgroups), read_only=read_only))
        finally:
            os.close(cgroups)


def mount_scratch(points: Points) -> int:
    """A private tmpfs for the files and devices that are bound into the root; /dev comes on top of it, nobody sees it.

    An attached mount is needed: binding from a detached one is refused before Linux 6.15.
    """
    below = points.find("/dev", folder=True, kept=True)
    try:
        perform(Mount(kind="tmpfs", target=_name(below), options=("mode=700",), nosuid=True))
    finally:
        os.close(below)
    scratch = points.find("/dev", folder=True)
    os.mkdir("empty", 0o555, dir_fd=scratch)
    return scratch


def mount_dev(points: Points, scratch: int, command: Command) -> None:
    """/dev as a small tmpfs with Docker's nodes and links, and its own terminals, shared memory and queues."""
    below = points.find("/dev", folder=True, kept=True)
    nodev = command.security != "insecure"
    try:
        options = ("mode=755", "size=65536k")
        perform(Mount(kind="tmpfs", target=_name(below), options=options, nosuid=True, nodev=nodev))
    finally:
        os.close(below)
    dev = points.find("/dev", folder=True)
    try:
        for name, major, minor in DEVICES:
            _bind_device(dev, name, _device(scratch, name, major, minor))
        if command.security == "insecure":
            for name in _MORE_DEVICES:
                _bind_device(dev, name)
        for name, to in LINKS:
            os.symlink(to, name, dir_fd=dev)
        if os.path.exists("/proc/kcore"):
            os.symlink("/proc/kcore", "core", dir_fd=dev)
        if command.terminal:
            # So that ttyname(3) finds it, whose name is in the /dev/pts outside. By that name, since a descriptor from
            # before the clone is on a mount of another namespace, which cannot be bound.
            _bind_device(dev, "console", Path(os.readlink("/proc/self/fd/0")))
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev)
        _terminals(_below(dev, "pts"))
        size = (f"size={command.shm_size}",) if command.shm_size else ()
        perform(_quiet("tmpfs", _below(dev, "shm"), "mode=1777", *size))
        with suppress(OSError):  # a kernel without CONFIG_POSIX_MQUEUE; programs then find the folder empty
            perform(_quiet("mqueue", _below(dev, "mqueue")))
    finally:
        os.close(dev)


def _device(scratch: int, name: str, major: int, minor: int) -> Path:
    """The device to bind: our own; else the host's."""
    try:
        # Only the first user namespace's root may; a container's device cgroup refuses even that one at times.
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=scratch)
        os.chmod(name, 0o666, dir_fd=scratch)
    except OSError:
        return Path("/dev", name)
    return _below(scratch, name)


def _bind_device(dev: int, name: str, source: Path | None = None) -> None:
    source = source or Path("/dev", name)
    if not source.exists():
        return
    if "/" in name:
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(name), 0o755, dir_fd=dev)
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=dev))
    perform(Mount(kind="bind", source=source, target=_below(dev, name)))


def _terminals(target: Path) -> None:
    options = ("newinstance", "ptmxmode=0666", "mode=0620")
    try:
        perform(Mount(kind="devpts", target=target, options=(*options, "gid=5"), nosuid=True, noexec=True))
    except OSError as error:
        # The group tty is not mapped here.
        if error.errno != errno.EINVAL:
            raise
        perform(Mount(kind="devpts", target=target, options=options, nosuid=True, noexec=True))


def _quiet(kind: str, target: Path, *options: str) -> Mount:
    return Mount(kind=kind, target=target, options=options, nosuid=True, nodev=True, noexec=True)


def set_sysctl(name: str, value: str, command: Command) -> None:
    """Set what belongs to the command's own namespaces. raises HostError for what is the host's; OSError."""
    own = name.startswith(("kernel.msg", "kernel.shm", "kernel.sem", "fs.mqueue."))
    if not own and not (name.startswith("net.") and command.network == "none"):
        raise HostError(f"the setting {name} is the host's, not the command's own", code="sysctl-refused")
    Path("/proc/sys", name.replace(".", "/")).write_text(value)


def mount_names(points: Points, scratch: int, command: Command) -> None:
    """/etc/resolv.conf as the host has it, whose network is the command's, and /etc/hosts as BuildKit writes it."""
    for path, content in (("/etc/resolv.conf", resolv_conf()), ("/etc/hosts", hosts_file(command))):
        mount_extra(points, scratch, Extra(target=path, kind="file", content=content, mode=0o644, read_only=True))


def hosts_file(command: Command) -> bytes:
    """source: BuildKit executor/oci/hosts.go."""
    lines = [f"127.0.0.1\tlocalhost {command.hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    for line in command.hosts:
        name, _, address = line.partition(":")
        lines.append(f"{address.strip('[]')}\t{name}")
    return ("\n".join(lines) + "\n").encode()


def resolv_conf() -> bytes:
    """The host's, whose network is the command's."""
    try:
        with open("/etc/resolv.conf", "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""  # no network to speak of; the file is there, as programs expect


def mount_extra(points: Points, scratch: int, extra: Extra, *, nodev: bool = True) -> None:
    """One extra over its target; *nodev*: what is a device there opens none. raises OSError."""
    folder = extra.kind == "tmpfs" or (extra.kind == "bind" and extra.source is not None and extra.source.is_dir())
    made = points.made
    target = points.find(extra.target, folder=folder)
    try:
        if extra.kind == "tmpfs":
            uid, gid = ownership.ids().held(extra.uid, extra.gid)
            there = extra.keeps_mode and points.made == made
            mode = stat.S_IMODE(os.fstat(target).st_mode) if there else extra.mode
            options = [f"mode={mode:o}", f"uid={uid}", f"gid={gid}"]
            options += [f"size={extra.size}"] if extra.size else []
            perform(
                Mount(
                    kind="tmpfs",
                    target=_name(target),
                    options=tuple(options),
                    nosuid=True,
                    nodev=nodev,
                    read_only=extra.read_only,
                )
            )
            if (uid, gid) != (extra.uid, extra.gid) and not extra.read_only:
                mounted = points.find(extra.target, folder=True)
                try:
                    _give(f"/proc/self/fd/{mounted}/.", extra)
                finally:
                    os.close(mounted)
        elif extra.kind == "file":
            source = _file(scratch, extra)
            perform(Mount(kind="bind", source=source, target=_name(target), read_only=extra.read_only, nodev=nodev))
        elif extra.kind == "bind" and extra.source is not None:
            perform(_bound(extra, extra.source, _name(target), nodev=nodev))
        else:
            raise HostError(f"a mount of kind {extra.kind} is not known", code="unknown-mount")
    finally:
        os.close(target)


def _bound(extra: Extra, source: Path, target: Path, *, nodev: bool) -> Mount:
    # Who binds /dev, or a file in it, asks for devices: -v /dev/fuse:/dev/fuse.
    nodev = nodev and not source.is_relative_to("/dev")
    return Mount(kind="rbind", source=source, target=target, read_only=extra.read_only, nodev=nodev)


def _file(scratch: int, extra: Extra) -> Path:
    name = str(len(os.listdir(f"/proc/self/fd/{scratch}")))
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=scratch)
    with os.fdopen(fd, "wb") as file:
        file.write(extra.content)
        _give(fd, extra)
        os.fchmod(fd, extra.mode)
    return _below(scratch, name)


def _give(place: str | int, extra: Extra) -> None:
    # A tmpfs takes user attributes since Linux 6.6. Before, an owner that is not mapped cannot even be recorded; the
    # file is then root's, and whoever is emulated opens it just as well.
    with suppress(HostError):
        ownership.give(place, extra.uid, extra.gid)


def mask(scratch: int) -> None:
    """Hide what tells of the host, and make read-only what could change it; in the new root, whose /proc it names."""
    for path in _READ_ONLY:
        if os.path.exists(path):
            perform(Mount(kind="rbind", source=Path(path), target=Path(path), read_only=True))
    for path in _MASKED:
        try:
            state = os.stat(path)
        except OSError:
            continue
        if stat.S_ISDIR(state.st_mode):
            perform(Mount(kind="bind", source=_below(scratch, "empty"), target=Path(path), read_only=True))
        else:
            perform(Mount(kind="bind", source=Path("/dev/null"), target=Path(path)))


def switch_root(root: int) -> None:
    """Make *root* the root, and nothing of the old one reachable. source: pivot_root(2), "NOTES", on "." twice."""
    os.fchdir(root)
    try:
        syscalls.pivot_root(".", ".")
    except OSError as error:
        # EPERM: Docker's profile refuses it even to CAP_SYS_ADMIN. EINVAL: our root is the initial ramfs.
        # ENOSYS: a kernel in a program, as gVisor's was.
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOSYS):
            raise
        syscalls.mount(".", "/", "", constants.MS_MOVE)
        os.chroot(".")
    else:
        # The old root lies on top of the new one now.
        syscalls.umount(".", constants.MNT_DETACH)
    os.chdir("/")


def _name(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}")


def _below(folder: int, name: str) -> Path:
    return Path(f"/proc/self/fd/{folder}/{name}")
