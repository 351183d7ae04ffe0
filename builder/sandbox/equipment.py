"""What a command in a jail finds around itself: devices, names, and the extras of its step, put into its tree.

source   the same as ``surroundings``, which mounts it
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from builder.errors import HostError
from builder.sandbox.command import Command, Extra
from builder.sandbox.places import Places
from builder.sandbox.surroundings import DEVICES, LINKS, hosts_file, resolv_conf


def put(places: Places, command: Command) -> None:
    """Put it all in. raises HostError naming what cannot be put where."""
    _put_devices(places, command)
    for name in ("/proc", "/sys"):
        places.folder(name, kept=True)
    names = (("/etc/resolv.conf", resolv_conf()), ("/etc/hosts", hosts_file(command)))
    files = [Extra(target=path, kind="file", content=content, mode=0o644) for path, content in names]
    for extra in (*files, *command.extras):
        try:
            _put_extra(places, extra)
        except OSError as error:
            raise HostError(
                f"putting {extra.kind} to {extra.target} failed: {error.strerror}", code="sandbox-failed"
            ) from error


def _put_extra(places: Places, extra: Extra) -> None:
    if extra.kind == "tmpfs":
        places.folder(extra.target, mode=extra.mode, owner=(extra.uid, extra.gid))
    elif extra.kind == "file":
        places.file(extra)
    elif extra.kind == "bind" and extra.source is not None and extra.movable:
        places.move(extra.source, extra.target)
    else:
        raise HostError(f"nothing can be mounted on {extra.target} here", code="needs-namespace")


def _put_devices(places: Places, command: Command) -> None:
    """Docker's nodes and links. A container's root may make nodes, and the container's own rules say which it opens."""
    try:
        dev = places.folder("/dev", kept=True)
        for name, major, minor in DEVICES:
            os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            os.chmod(dev / name, 0o666)
        for name, to in LINKS:
            os.symlink(to, dev / name)
        for name, mode in (("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)):
            os.mkdir(dev / name)
            os.chmod(dev / name, mode)
        _try_null(dev)
    except OSError as error:
        raise HostError(
            f"devices cannot be made here: {error.strerror}",
            code="no-devices",
            hint="the container needs the capability MKNOD, and the store a file system that is not mounted with nodev",
        ) from error


def _try_null(dev: Path) -> None:
    """One that is opened tells of nodev, and of a container's rules."""
    os.close(os.open(dev / "null", os.O_RDWR | os.O_CLOEXEC))
