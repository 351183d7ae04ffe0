"""The child's life, from clone to exec: it reads top to bottom.

It is the first process of its pid namespace, single-threaded, root of the user namespace, and sees the builder's mounts
in a copy of its own. Whatever it leaves behind, processes or mounts, ends with it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NoReturn

from builder.errors import HostError, ImageError
from builder.layer import ownership
from builder.sandbox import launch, surroundings
from builder.sandbox.command import Command
from builder.sandbox.groups import entering
from builder.sandbox.stubs import Points, Stub
from builder.sandbox.unexpected import MENDS
from builder.sandbox.users import User, resolve
from native import constants, syscalls
from native.mounts import Mount, describe, perform

LIMIT = 10 << 20
"""Bytes of /etc/passwd and /etc/group at the most. source: BuildKit executor/oci/user.go, maxUserFileBytes."""


def enter(command: Command, report: Callable[[tuple[Stub, ...]], None], supervised: Callable[[int], None]) -> NoReturn:
    """Make the command's surroundings and become it.

    report      receives the mount points that had to be made, before the command starts
    supervised  is called with a descriptor of the root when what follows is the command's own
    raises  CommandFailed if there is no such program; DockerfileError if there is no such user; HostError naming the
            step that this machine refused
    """
    entrance = entering.entrance(command.group)
    # What is mounted here must not reach the builder's own namespace. mount_namespaces(7), "Shared subtrees"
    with step("making mounts private"):
        syscalls.mount("", "/", "", constants.MS_REC | constants.MS_PRIVATE)
    with suppress(OSError):  # some containers' profiles refuse the name: a build does not depend on it
        syscalls.sethostname(command.hostname)
    if command.network == "none":
        with step("bringing up the loopback interface"):
            _loopback_up()

    root = _mount_root(command)
    points = Points(root)
    scratch = _mount_surroundings(points, command)
    with step("switching to the new root"):
        surroundings.switch_root(root)
    if command.security != "insecure":
        with step("masking parts of /proc and /sys"):
            surroundings.mask(scratch)
    os.close(root)
    os.close(scratch)

    user = user_of(command)
    with step(f"entering the working directory {command.cwd}"):
        enter_folder(command.cwd, user)
    if command.read_only:
        # Only now, for mount points and the working directory may have had to be made.
        with step("making the root read-only"):
            syscalls.mount_setattr(constants.AT_FDCWD, "/", constants.MOUNT_ATTR_RDONLY)
    report(tuple(points.stubs))

    begin_session(command, user, entrance)
    env = launch.environment(command, user.home)
    with step("dropping rights"):
        top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        launch.drop_rights(command, user, lambda: supervised(top))
    launch.reset_signals()
    launch.execute(command.argv, env)


def begin_session(command: Command, user: User, entrance: int) -> None:
    """Limits, streams and a session of its own: the builder's terminal is not the command's.

    entrance   to the command's control group, -1 for none. What was done before, as mounts and the reading of user
               files, is the builder's own, and not the command's to pay for
    """
    launch.set_limits(command)
    with step("entering the control group"):
        entering.enter(entrance)
    launch.give_streams(user)
    os.umask(0o022)
    os.setsid()
    if command.terminal:
        with step("taking the terminal"):
            _take_terminal()


@contextmanager
def step(doing: str) -> Iterator[None]:
    """Whatever the kernel refuses meanwhile is told with what was being done."""
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename and "/proc/self/fd" not in str(error.filename) else ""
        hint = MENDS.get(error.errno or 0)
        raise HostError(f"{doing} failed: {error.strerror}{where}", code="sandbox-failed", hint=hint) from error


def _mount_root(command: Command) -> int:
    """A descriptor of the root, mounted as the snapshotter says."""
    with step(f"making {command.root_path}"):
        command.root_path.mkdir(mode=0o755, parents=True, exist_ok=True)
    mounts = command.root or (Mount(kind="rbind", source=command.root_path, target=command.root_path),)
    # A real root makes real devices, and no device cgroup stands before them as in a container: nodev does, here and on
    # all that is mounted in the root. What the command may open is bound into /dev.
    nodev = command.security != "insecure"
    for mount in (replace(mount, nodev=mount.nodev or nodev) for mount in mounts):
        with step(f"mounting {describe(mount)}"):
            perform(mount)
    return os.open(command.root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount_surroundings(points: Points, command: Command) -> int:
    """All that lies over the root; returns the private tmpfs's descriptor."""
    with step("making a private tmpfs"):
        scratch = surroundings.mount_scratch(points)
    with step("mounting /dev"):
        surroundings.mount_dev(points, scratch, command)
    with step("mounting /proc"):
        surroundings.mount_proc(points)
    with step("mounting /sys"):
        surroundings.mount_sys(points, read_only=command.security != "insecure")
    for name, value in command.sysctls:
        with step(f"setting {name}"):
            surroundings.set_sysctl(name, value, command)
    with step("mounting /etc/hosts and /etc/resolv.conf"):
        surroundings.mount_names(points, scratch, command)
    for extra in command.extras:
        with step(f"mounting {extra.kind} on {extra.target}"):
            surroundings.mount_extra(points, scratch, extra, nodev=command.security != "insecure")
    return scratch


def _loopback_up() -> None:
    """source: netdevice(7), SIOCSIFFLAGS; a struct ifreq is 40 bytes on 64-bit machines."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_and_running = 0x1 | 0x40
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", up_and_running))


def user_of(command: Command) -> User:
    """Whom the command runs as, told by the present root."""
    passwd = _text("/etc/passwd")
    return resolve(command.user, passwd, _text("/etc/group"))


def _text(path: str) -> str | None:
    """A user file of the root, which is hostile: a FIFO must not make us wait, nor /dev/zero fill our memory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)  # fdopen would not take a folder
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ImageError(f"{path} exceeds {LIMIT} bytes", code="user-file-too-large")
    return data.decode("utf-8", "surrogateescape")


def enter_folder(cwd: str, user: User) -> None:
    """chdir; what is missing is made, and is the user's. source: BuildKit executor/runcexecutor, MkdirAllAndChown."""
    path = "/"
    for word in cwd.split("/"):
        path = os.path.join(path, word)
        if not os.path.exists(path):
            os.mkdir(path, 0o755)
            ownership.give(path, user.uid, user.gid, fresh=True)
    os.chdir(cwd or "/")


def _take_terminal() -> None:
    """Make stdin the controlling terminal. source: ioctl_tty(2), TIOCSCTTY."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
