"""Commands in the sandbox, as one person: a busybox root, and runs that each have an upper folder of their own."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from builder.sandbox import gate
from builder.sandbox.command import Command, ExitStatus
from builder.sandbox.runner import Runner
from builder.sandbox.stubs import Stub
from native import constants, syscalls
from native.mounts import Mount
from worlds.people import Person

T = TypeVar("T")

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:root\nwheel:x:10:root\napp:x:1000:\nextra:x:77:app\n"


MASKED_PROC = "masked /proc"
"""Beside capabilities in *without*: /proc as a container has it, so that the kernel grants no fresh one."""
NO_NEW_PRIVILEGES = "no_new_privs"
"""In *without* too: newuidmap is powerless, so that one id only can be mapped."""
CLOSED_FUSE = "open /dev/fuse"
"""In *without* too: not the closed /dev/fuse of this machine, but one that everybody may open."""
NO_FUSE = "/dev/fuse"
"""In *without* too: there is no such device."""
LOCKED_FUSE = "locked /dev/fuse"
"""In *without* too: one that root alone may open."""


def as_person(person: Person, function: Callable[[], T], *, without: tuple[str, ...] = ()) -> T:
    """What *function* returns or raises in a process of *person*'s, less the capabilities *without*."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(person, function, without, write)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert data, f"the process ended without a word: {status}"
    raised, value = pickle.loads(data)
    if raised:
        raise value
    return value  # type: ignore[no-any-return]  # it came from *function*


def _become(person: Person, function: Callable[[], Any], without: tuple[str, ...], write: int) -> NoReturn:
    try:
        if MASKED_PROC in without:
            _mask_proc()
            without = tuple(name for name in without if name != MASKED_PROC)
        for name, mode in ((CLOSED_FUSE, 0o666), (NO_FUSE, None), (LOCKED_FUSE, 0o600)):
            if name in without:
                _other_fuse(mode)
                without = tuple(other for other in without if other != name)
        if NO_NEW_PRIVILEGES in without:
            syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
            without = tuple(name for name in without if name != NO_NEW_PRIVILEGES)
        if os.geteuid() != person.uid:
            os.setgroups([])
            os.setresgid(person.gid, person.gid, person.gid)
            os.setresuid(person.uid, person.uid, person.uid)
            # As after execve(2), which people come by: else our files in /proc are root's. proc(5)
            syscalls.prctl(constants.PR_SET_DUMPABLE, 1)
        if without:
            lost = sum(1 << constants.CAPABILITIES[name] for name in without)
            for name in without:
                syscalls.prctl(constants.PR_CAPBSET_DROP, constants.CAPABILITIES[name])
            with open("/proc/self/status") as status:
                held = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm")) & ~lost
            syscalls.capset(effective=held, permitted=held, inheritable=0)
        try:
            answer = False, function()
        except BaseException as error:  # it is raised anew in the test
            answer = True, error
        with os.fdopen(write, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    finally:
        os._exit(1)


def _mask_proc() -> None:
    syscalls.unshare(constants.CLONE_NEWNS)
    syscalls.mount("", "/", "", constants.MS_REC | constants.MS_PRIVATE)
    syscalls.mount("/dev/null", "/proc/timer_list", "", constants.MS_BIND)
    syscalls.mount("/proc/sys", "/proc/sys", "", constants.MS_BIND)
    syscalls.mount("", "/proc/sys", "", constants.MS_BIND | constants.MS_REMOUNT | constants.MS_RDONLY)


def _other_fuse(mode: int | None) -> None:
    """A /dev of our own, with a /dev/fuse of that *mode*, or without."""
    syscalls.unshare(constants.CLONE_NEWNS)
    syscalls.mount("", "/", "", constants.MS_REC | constants.MS_PRIVATE)
    syscalls.mount("/dev", "/mnt", "", constants.MS_BIND | constants.MS_REC)
    syscalls.mount("tmpfs", "/dev", "tmpfs", 0, "mode=755")
    for name in os.listdir("/mnt"):
        if name == "fuse":
            continue
        path = Path("/dev", name)
        if Path("/mnt", name).is_symlink():
            path.symlink_to(os.readlink(f"/mnt/{name}"))
            continue
        path.mkdir() if Path("/mnt", name).is_dir() else path.touch()
        syscalls.mount(f"/mnt/{name}", path, "", constants.MS_BIND | constants.MS_REC)
    if mode is not None:
        os.mknod("/dev/fuse", 0o020000 | mode, os.makedev(10, 229))
        os.chmod("/dev/fuse", mode)
    syscalls.umount("/mnt", constants.MNT_DETACH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended, what it wrote, and where."""

    status: ExitStatus
    out: bytes
    err: bytes
    stubs: tuple[Stub, ...]
    upper: Path

    @property
    def text(self) -> str:
        return self.out.decode()


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """Runs commands as *person* over the root *lower*, each with a fresh upper folder in *room*."""

    person: Person
    lower: Path
    room: Path
    without: tuple[str, ...] = ()
    count: int = field(default=0)

    def command(self, argv: tuple[str, ...], **fields: Any) -> Command:
        """A command over a fresh upper; its folder is ``root_path``'s."""
        self.count += 1
        folder = self.room / f"run{self.count}"

        def make() -> None:
            for name in ("upper", "work", "root"):
                (folder / name).mkdir(parents=True)

        as_person(self.person, make)
        overlay = Mount(
            kind="overlay",
            target=folder / "root",
            lowers=(self.lower,),
            upper=folder / "upper",
            work=folder / "work",
        )
        return Command(**({"root": (overlay,), "root_path": folder / "root", "argv": argv, "env": ()} | fields))

    def run(self, *argv: str, **fields: Any) -> Ran:
        """Run *argv*, or one string in the shell, to its end."""
        command = self.command(argv if len(argv) > 1 else ("/bin/sh", "-c", argv[0]), **fields)

        def inside(_: object) -> tuple[Any, ...]:
            written = {1: bytearray(), 2: bytearray()}
            with Runner() as runner:
                done = runner.run(command, output=lambda stream, data: written[stream].extend(data))
            return done.status, bytes(written[1]), bytes(written[2]), done.stubs

        status, out, err, stubs = self.behind(inside)
        return Ran(status=status, out=out, err=err, stubs=stubs, upper=command.root_path.parent / "upper")

    def behind(self, function: Callable[[Any], T], on_message: Callable[[object], None] = lambda _: None) -> T:
        """What *function* returns behind the gate, called by this person."""
        return as_person(
            self.person,
            lambda: gate.call(function, identity=gate.identity(), on_message=on_message),
            without=self.without,
        )


def busybox_root(folder: Path) -> Path:
    """A small root file system, made as whoever calls."""
    for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("home", 0o755)):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(mode)
    for name in ("proc", "sys", "dev", "srv"):
        (folder / name).mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text(PASSWD)
    (folder / "etc/group").write_text(GROUP)
    return folder
