"""What a command in a jail finds around itself: devices, names, and the extras of its step, put into its tree.

source   the same as ``surroundings``, which mounts it
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace

from builder.errors import HostError
from builder.sandbox.command import Command, Extra
from builder.sandbox.enter import step
from builder.sandbox.jail.places import Places
from builder.sandbox.surroundings import DEVICES, LINKS, hosts_file, resolv_conf


def put(places: Places, command: Command) -> bool:
    """Put it all in; whether its devices are some. raises HostError naming what cannot be put where."""
    devices = _put_devices(places)
    for name in ("/proc", "/sys"):
        places.folder(name, kept=True)
    # There is no namespace to have another name in.
    hosts = hosts_file(replace(command, hostname=os.uname().nodename))
    names = (("/etc/resolv.conf", resolv_conf()), ("/etc/hosts", hosts))
    files = [Extra(target=path, kind="file", content=content, mode=0o644) for path, content in names]
    for extra in (*files, *command.extras):
        try:
            _put_extra(places, extra)
        except OSError as error:
            raise HostError(
                f"putting {extra.kind} to {extra.target} failed: {error.strerror}", code="sandbox-failed"
            ) from error
    return devices


def _put_extra(places: Places, extra: Extra) -> None:
    if extra.kind == "tmpfs":
        places.folder(extra.target, mode=extra.mode, owner=(extra.uid, extra.gid), keeps_mode=extra.keeps_mode)
    elif extra.kind == "file":
        places.file(extra)
    elif extra.kind == "bind" and extra.source is not None and extra.movable:
        places.move(extra.source, extra.target)
    else:
        raise HostError(f"nothing can be mounted on {extra.target} here", code="needs-namespace")


def _put_devices(places: Places) -> bool:
    """Docker's nodes and links; False if empty files stand for the nodes.

    A container's root may make nodes, unless it is one of a user namespace or lacks the capability; whether they can be
    opened is said by the container's rules, and by the file system that the store is on (nodev).
    """
    with step("putting devices into /dev"):
        dev = places.folder("/dev", kept=True)
        for name, to in LINKS:
            os.symlink(to, dev / name)
        for name, mode in (("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)):
            os.mkdir(dev / name)
            os.chmod(dev / name, mode)
        try:
            for name, major, minor in DEVICES:
                os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
                os.chmod(dev / name, 0o666)
            os.close(os.open(dev / "null", os.O_RDWR | os.O_CLOEXEC))
        except PermissionError:
            for name, _, _ in DEVICES:
                (dev / name).unlink(missing_ok=True)
                (dev / name).touch()
                os.chmod(dev / name, 0o666)
            return False
        return True
