"""The program fuse-overlayfs, started and ended.

source   fuse-overlayfs(1); linux, Documentation/filesystems/fuse.rst
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from builder.errors import HostError
from native import syscalls
from native.constants import MNT_DETACH

PROGRAM = "fuse-overlayfs"
DEVICE = "/dev/fuse"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START = 30.0
_END = 60.0
"""Seconds: far more than either takes."""
_OTHERS = "use --isolation copy or auto"
_INSTALL = f"install the package fuse-overlayfs, or {_OTHERS}"
_DEVICE_CLOSED = f"give the user the right to open it (chmod 666 {DEVICE})"
# Absent, or refused by a container's device cgroup with EPERM, or with no driver behind it.
_DEVICE_MISSING = f"give the container the device (docker run --device {DEVICE}) or load the module fuse"
_NOISE = b"unknown argument ignored: "
"""What 1.10 to 1.14 say of an option that they give to themselves."""


class Serving:
    """A mount and the program behind it."""

    def __init__(self, process: subprocess.Popen[bytes], target: Path) -> None:
        self._process = process
        self.target = target

    def end(self) -> None:
        """Take the mount away, and wait until the program has written all and ended.

        raises   HostError if it ended before: what it had to write may be lost
        """
        before = self._process.poll()
        syscalls.umount(self.target, MNT_DETACH)
        # Whoever else saw the mount, a command's namespace, is gone or going: the kernel lets go of it after the last.
        try:
            code = self._process.wait(_END) if before is None else before
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if before is not None or code:
            raise HostError(
                f"{PROGRAM} ended while it was needed (exit code {code})",
                code="fuse-overlayfs-lost",
                hint="use --isolation copy",
            )


def missing() -> HostError | None:
    """What keeps the program from being started; None if nothing is seen to."""
    if find() is None:
        return HostError(f"{PROGRAM} is not installed", code="no-fuse-overlayfs", hint=_INSTALL)
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return HostError(
            f"{PROGRAM} needs {DEVICE}, which cannot be opened: {error.strerror}",
            code="no-fuse-device",
            hint=f"{_DEVICE_CLOSED if error.errno == errno.EACCES else _DEVICE_MISSING}, or {_OTHERS}",
        )
    return None


def find() -> str | None:
    """Where the program is: along PATH, and where system programs are, which a user's PATH may leave out."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=_PATH)


def serve(
    folder: Path, lowers: Sequence[Path], target: Path, *, upper: Path | None = None, work: Path | None = None
) -> Serving:
    """Start the program, and wait until *target* shows *lowers* (topmost first) and on them *upper*.

    folder   all of them but *target* are below it: relative names need no escapes, for ours have no ":" and no ","
    raises   HostError if it does not start
    """
    program = find()
    if program is None:
        raise HostError(f"{PROGRAM} is not installed", code="no-fuse-overlayfs", hint=_INSTALL)
    # fast_ino: an inode's number is that of the file shown, not of one that it was copied from, by which files would be
    # taken for one another. static_nlink: a folder has one link, as a merged one of overlayfs' has; else each stat of
    # it counts what is in it.
    options = ["fast_ino=1", "static_nlink", "lowerdir=" + ":".join(str(lower.relative_to(folder)) for lower in lowers)]
    if upper is not None and work is not None:
        # volatile: durability is sync()'s business.
        options += [f"upperdir={upper.relative_to(folder)}", f"workdir={work.relative_to(folder)}", "volatile"]
    outside = os.stat(target).st_dev
    with os.fdopen(os.memfd_create(PROGRAM, os.MFD_CLOEXEC), "w+b") as said:
        process = subprocess.Popen(
            [program, "-f", "-o", ",".join(options), str(target)],
            cwd=folder,
            env={"PATH": _PATH, "FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        _wait_for_mount(process, target, outside, said)
    return Serving(process, target)


def _wait_for_mount(process: subprocess.Popen[bytes], target: Path, outside: int, said: IO[bytes]) -> None:
    until = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < until:
        try:
            if os.stat(target).st_dev != outside:
                return
        except OSError:
            pass  # mounted, and ended
        time.sleep(0.001)
    if process.poll() is None:
        process.kill()
        process.wait()
    said.seek(0)
    lines = [line for line in said.read(2000).splitlines() if not line.startswith(_NOISE)]
    words = " ".join(b" ".join(lines).decode(errors="replace").split()) or f"exit code {process.returncode}"
    raise HostError(f"{PROGRAM} does not start: {words}", code="fuse-overlayfs-failed", hint=_OTHERS)
