"""Mounts as values: described purely, performed in order."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from native import constants, syscalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount.

    kind     ``bind``, ``rbind``, ``overlay``, ``tmpfs``, ``proc``, ``sysfs``, ``devpts``, ``mqueue``, ``cgroup2``
    source   of a bind
    lowers, upper, work   of an overlay; lowers topmost first
    options  file-system options as ``key=value`` words (``mode=755``)
    """

    kind: str
    target: Path
    source: Path | None = None
    lowers: tuple[Path, ...] = ()
    upper: Path | None = None
    work: Path | None = None
    options: tuple[str, ...] = ()
    read_only: bool = False
    nosuid: bool = False
    nodev: bool = False
    noexec: bool = False


_FLAGS = (
    ("read_only", "ro", constants.MS_RDONLY, constants.MOUNT_ATTR_RDONLY),
    ("nosuid", "nosuid", constants.MS_NOSUID, constants.MOUNT_ATTR_NOSUID),
    ("nodev", "nodev", constants.MS_NODEV, constants.MOUNT_ATTR_NODEV),
    ("noexec", "noexec", constants.MS_NOEXEC, constants.MOUNT_ATTR_NOEXEC),
)
# What a kernel before the call, or a seccomp profile that refuses it, answers. ENOSYS is no proof of an old kernel:
# Docker's profiles say it of calls that they do not know.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EPERM, errno.EINVAL)
# fsconfig(2) copies a string value of at most 255 bytes. source: linux, fs/fsopen.c, strndup_user(_value, 256)
_LONGEST_VALUE = 255
# statvfs(3) flags of an inherited mount, and what repeats them in a remount.
_INHERITED = (
    (os.ST_RDONLY, constants.MS_RDONLY),
    (os.ST_NOSUID, constants.MS_NOSUID),
    (os.ST_NODEV, constants.MS_NODEV),
    (os.ST_NOEXEC, constants.MS_NOEXEC),
    (os.ST_NOATIME, constants.MS_NOATIME),
    (os.ST_NODIRATIME, constants.MS_NODIRATIME),
    (os.ST_RELATIME, constants.MS_RELATIME),
)


def describe(mount: Mount) -> str:
    """One line for people: what is mounted where, and how."""
    words = [word for field, word, _, _ in _FLAGS if getattr(mount, field)] + list(mount.options)
    if mount.kind == "overlay":
        words.append("lowerdir=" + ":".join(map(str, mount.lowers)))
        if mount.upper is not None:
            words += [f"upperdir={mount.upper}", f"workdir={mount.work}"]
    source = f" {mount.source}" if mount.source is not None else ""
    return f"{mount.kind}{source} on {mount.target}" + (f" ({','.join(words)})" if words else "")


def perform(mount: Mount) -> None:
    """Make *mount* in this process's mount namespace. Its target exists, a file or a folder as the source is.

    raises   OSError with the call and the path
    """
    if mount.kind in ("bind", "rbind"):
        _bind(mount)
    elif mount.kind == "overlay":
        _overlay(mount)
    else:
        syscalls.mount(mount.kind, mount.target, mount.kind, _flags(mount), ",".join(mount.options))


def _flags(mount: Mount) -> int:
    return sum(flag for field, _, flag, _ in _FLAGS if getattr(mount, field))


def _attributes(mount: Mount) -> int:
    return sum(attribute for field, _, _, attribute in _FLAGS if getattr(mount, field))


def _bind(mount: Mount) -> None:
    """A copy of the mount is changed before it is attached: nobody sees it writable, and no path is walked twice.

    mount_setattr adds to the flags that the mount has; a remount must repeat those which a more privileged mount
    namespace set. source: mount_namespaces(7), "Restrictions on mount namespaces"
    """
    assert mount.source is not None
    recursive = constants.AT_RECURSIVE if mount.kind == "rbind" else 0
    try:
        tree = syscalls.open_tree(mount.source, constants.OPEN_TREE_CLONE | recursive)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        _bind_by_remount(mount)
        return
    try:
        if attributes := _attributes(mount):
            syscalls.mount_setattr(tree, "", attributes, flags=constants.AT_EMPTY_PATH | recursive)
        syscalls.move_mount(tree, mount.target)
    except OSError as error:
        # EINVAL here is a true answer (a target that is no folder says ENOTDIR), so only a missing call falls back.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        _bind_by_remount(mount)
    finally:
        os.close(tree)


def _bind_by_remount(mount: Mount) -> None:
    assert mount.source is not None
    recursive = constants.MS_REC if mount.kind == "rbind" else 0
    # A descriptor's name leads below what is mounted there next; its path leads to it.
    target = os.path.realpath(mount.target)
    syscalls.mount(mount.source, mount.target, "", constants.MS_BIND | recursive)
    flags = _flags(mount)
    if not flags:
        return
    for point in _mounts_under(target) if recursive else (target,):
        inherited = os.statvfs(point).f_flag
        repeated = sum(again for flag, again in _INHERITED if inherited & flag)
        syscalls.mount("", point, "", constants.MS_REMOUNT | constants.MS_BIND | flags | repeated)


def _mounts_under(target: str) -> Iterator[str]:
    """The mount points at and below *target*. source: proc_pid_mountinfo(5), field 5, octal escapes."""
    seen = {target}
    yield target
    with open("/proc/self/mountinfo", "rb") as table:
        points = [line.split(b" ", 5)[4] for line in table]
    for point in points:
        for escape, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
            point = point.replace(escape, character)
        path = os.fsdecode(point)
        if path.startswith(target.rstrip("/") + "/") and path not in seen:
            seen.add(path)
            yield path


def _overlay(mount: Mount) -> None:
    """An overlay with ``userxattr`` always.

    In a user namespace an overlay without it mounts and looks well, then answers EIO where a folder is made over a
    deleted one, for it cannot write trusted.overlay.opaque. With it redirects and metacopy, which would leave folders
    and files in the upper that are not whole, are off too. source: linux, Documentation/filesystems/overlayfs.rst,
    "User xattr"

    raises   OSError; E2BIG if so many lowers cannot be said to this kernel
    """
    if mount.upper is None and len(mount.lowers) == 1:
        # The kernel wants two lowers where there is no upper.
        _bind(Mount(kind="bind", target=mount.target, source=mount.lowers[0], read_only=True, nodev=mount.nodev))
        return
    try:
        _overlay_by_steps(mount)
    except OSError as error:
        # lowerdir+ is known since Linux 6.7; an earlier kernel says EINVAL. If that is not why, mount(2) says it again.
        if error.errno not in _NO_SUCH_CALL:
            raise
        _overlay_by_options(mount)


def _overlay_by_steps(mount: Mount) -> None:
    # Of all or of none: a volatile overlay that was made and cannot be attached leaves a mark in its work folder, for
    # which the next one over it is refused. overlayfs.rst, "Volatile mount"
    syscalls.probe_mount_calls()
    with _context("overlay") as fd, _names() as name:
        syscalls.fsconfig(fd, constants.FSCONFIG_SET_STRING, "source", "overlay")
        for lower in mount.lowers:
            syscalls.fsconfig(fd, constants.FSCONFIG_SET_STRING, "lowerdir+", name(lower, _LONGEST_VALUE))
        if mount.upper is not None and mount.work is not None:
            syscalls.fsconfig(fd, constants.FSCONFIG_SET_STRING, "upperdir", name(mount.upper, _LONGEST_VALUE))
            syscalls.fsconfig(fd, constants.FSCONFIG_SET_STRING, "workdir", name(mount.work, _LONGEST_VALUE))
        syscalls.fsconfig(fd, constants.FSCONFIG_SET_FLAG, "userxattr")
        for option in mount.options:
            key, equals, value = option.partition("=")
            if equals:
                syscalls.fsconfig(fd, constants.FSCONFIG_SET_STRING, key, value)
            else:
                syscalls.fsconfig(fd, constants.FSCONFIG_SET_FLAG, key)
        syscalls.fsconfig(fd, constants.FSCONFIG_CMD_CREATE)
        mounted = syscalls.fsmount(fd, _attributes(mount))
        try:
            syscalls.move_mount(mounted, mount.target)
        finally:
            os.close(mounted)


def _overlay_by_options(mount: Mount) -> None:
    """By mount(2), whose options are one page: every folder by its descriptor's name, 20 bytes at most.

    Such names need no escapes either, and unlike short relative ones no change of the process's folder, which threads
    share.
    """
    with _names() as name:
        words = ["userxattr", *mount.options, "lowerdir=" + ":".join(name(lower, 0) for lower in mount.lowers)]
        if mount.upper is not None and mount.work is not None:
            words += [f"upperdir={name(mount.upper, 0)}", f"workdir={name(mount.work, 0)}"]
        data = ",".join(words)
        if len(data) >= 4096:
            raise OSError(errno.E2BIG, f"mount: {len(mount.lowers)} layers are too many for this kernel", mount.target)
        syscalls.mount("overlay", mount.target, "overlay", _flags(mount), data)


@contextmanager
def _context(kind: str) -> Iterator[int]:
    fd = syscalls.fsopen(kind)
    try:
        yield fd
    finally:
        os.close(fd)


class _names:  # noqa: N801 - reads as the function that it stands for
    """Gives folders names of at most so many bytes: their own, or that of a descriptor, open until the end."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> _names:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __call__(self, folder: Path, longest: int) -> str:
        if len(os.fsencode(folder)) <= longest:
            return str(folder)
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open.callback(os.close, fd)
        return f"/proc/self/fd/{fd}"
