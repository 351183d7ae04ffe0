"""A machine of its own: this one's files under another kernel, Debian's, with unified control groups.

qemu emulates it, for KVM is not to be had in most runners. Its root is this machine's ``/``, read-only over 9p, under
an overlay in memory; ``/disk`` is an ext4 of its own, where a store may lie. It has no network. An agent in it runs
what a test asks for and answers with exit code and output, so that one boot serves a whole module::

    test ── unix socket ── virtio-serial ── agent ── sh -c SCRIPT, as root or as somebody

source   Linux, admin-guide/cgroup-v2.rst; filesystems/9p.rst; qemu(1), "-fsdev", "-device virtserialport"
"""

from __future__ import annotations

import base64
import contextlib
import json
import lzma
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyzstd

from worlds.processes import background

KERNELS = Path("/var/cache/pybuild-test-kernels")
"""Where ``scripts/setup --tests`` unpacks one: ``VERSION/boot/vmlinuz-VERSION``, ``VERSION/lib/modules/VERSION``."""

_MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_console", "9p", "9pnet_virtio", "overlay", "ext4", "crc32c_generic"),
    *("fuse", "binfmt_misc"),
)
_MEGABYTES = 1536
_DISK = 4 << 30  # bytes; a sparse file
_LONGEST = 600.0  # seconds for one script

_INIT = """#!/bin/busybox sh
set -e
for applet in mount mkdir insmod switch_root ip umask; do /bin/busybox ln -s busybox /bin/$applet 2>/dev/null || :; done
export PATH=/bin
mkdir -p /proc /sys /dev /host /memory /root
mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do insmod /modules/$module; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host
mount -t tmpfs -o mode=755 memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /root
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm /root/disk
mount -t devpts -o mode=620,ptmxmode=666 pts /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t tmpfs -o mode=755 run /root/run
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t ext4 /root/dev/vda /root/disk
/bin/busybox chmod 1777 /root/disk
/bin/busybox hostname guest
ip link set lo up
exec switch_root /root PYTHON -I -c "$(/bin/busybox cat /agent)"
"""

# Requests and answers are lines of JSON. The scripts' own output goes to a file: what they leave running cannot keep
# the agent waiting. It is process 1, reaps what is orphaned, and switches the machine off when nobody asks any more.
_AGENT = """
import base64, glob, json, os, signal, subprocess, sys, tempfile
names = glob.glob("/sys/class/virtio-ports/*/name")
(port,) = ["/dev/" + name.split("/")[-2] for name in names if open(name).read().strip() == "agent"]
line = open(port, "r+b", buffering=0)
line.write(b'{"ready": true}' + bytes([10]))
kept = b""
while True:
    while bytes([10]) not in kept:
        kept += os.read(line.fileno(), 65536)
    asked, kept = kept.split(bytes([10]), 1)
    asked = json.loads(asked)
    if asked.get("end"):
        os.sync()
        open("/proc/sysrq-trigger", "w").write("o")
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(asked["argv"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            cwd="/", env=asked["env"], start_new_session=True)
        while True:
            pid, status = os.wait()
            if pid == child.pid:
                break
        child.returncode = 0
        out.seek(0)
        data = base64.b64encode(out.read()).decode()
    answer = {"code": os.waitstatus_to_exitcode(status), "out": data}
    data = json.dumps(answer).encode() + bytes([10])
    while data:
        data = data[os.write(line.fileno(), data[:4096]):]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a script ended, and what it wrote, on stdout and stderr together."""

    code: int
    out: str


class Guest:
    """A machine that runs."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._kept = b""

    def sh(self, script: str, *, user: str = "root", check: bool = True, **env: str) -> Ended:
        """Run ``sh -c *script*`` as *user*, with PATH, HOME and *env* for its environment.

        raises   AssertionError with all that it wrote, where *check* is set and it failed
        """
        home = f"/disk/{user}"
        own = {"HOME": home, "USER": user, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        argv = ["/bin/sh", "-c", script]
        if user != "root":
            argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *argv]
        answer = self._ask({"argv": argv, "env": own | {"LANG": "C.UTF-8"} | env})
        ended = Ended(code=answer["code"], out=base64.b64decode(answer["out"]).decode(errors="replace"))
        if check and ended.code:
            raise AssertionError(f"{script}\nexit code {ended.code}\n{ended.out}")
        return ended

    def end(self) -> None:
        """Switch it off. It takes no part in that any more: the file that is its disk is thrown away."""
        self._line.sendall(b'{"end": true}\n')

    def ready(self) -> None:
        """Wait until the agent answers."""
        assert self._receive() == {"ready": True}

    def _ask(self, what: dict[str, object]) -> dict[str, object]:
        self._line.sendall(json.dumps(what).encode() + b"\n")
        return self._receive()

    def _receive(self) -> dict[str, object]:
        while b"\n" not in self._kept:
            data = self._line.recv(1 << 16)
            assert data, "the machine is gone"
            self._kept += data
        line, _, self._kept = self._kept.partition(b"\n")
        return json.loads(line)


PROGRAMS = ("qemu-system-x86_64", "busybox", "cpio", "mke2fs")
"""What is needed besides root, whose files the machine sees."""


def kernels() -> list[Path]:
    """The kernels that are unpacked, the newest last."""
    found = (folder for folder in KERNELS.glob("*") if (folder / "boot" / f"vmlinuz-{folder.name}").exists())
    return sorted(found, key=lambda folder: [int(word) for word in re.findall(r"\d+", folder.name)])


@contextlib.contextmanager
def booted(room: Path, kernel: Path | None = None, *, options: Iterable[str] = ()) -> Iterator[Guest]:
    """A running machine; it is gone afterwards, whatever it did.

    room      a folder for its disk, its messages (``console``) and the way to it
    options   words for the kernel's command line
    raises    NotReady with its last messages
    """
    kernel = kernel or kernels()[-1]
    initial = room / "initramfs"
    initial.write_bytes(_initramfs(kernel, room / "initial"))
    # Where this machine is busy the emulated timer's first ticks come too late for the kernel's test, which panics.
    words = ("console=ttyS0", "quiet", "panic=-1", "no_timer_check", "cgroup_no_v1=all", *options)
    disk = room / "disk"
    with disk.open("wb") as file:
        file.truncate(_DISK)
    made = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(disk)]
    subprocess.run(made, check=True, capture_output=True)
    here, console = room / "agent", room / "console"
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(_MEGABYTES)),
        *("-kernel", str(kernel / "boot" / f"vmlinuz-{kernel.name}"), "-initrd", str(initial)),
        *("-append", " ".join(words)),
        *("-serial", f"file:{console}"),
        *("-fsdev", "local,id=host,path=/,security_model=passthrough,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"),
        *("-chardev", f"socket,id=agent,path={here},server=on,wait=off"),
    ]
    with (
        background(command, log=console.with_suffix(".qemu"), ready=here.is_socket),
        socket.socket(socket.AF_UNIX) as line,
    ):
        line.settimeout(_LONGEST)
        line.connect(str(here))
        guest = Guest(line)
        guest.ready()
        yield guest


def _initramfs(kernel: Path, folder: Path) -> bytes:
    """The first file system: a busybox, the modules, the agent."""
    (folder / "bin").mkdir(parents=True)
    (folder / "modules").mkdir()
    shutil.copy(shutil.which("busybox") or "busybox", folder / "bin/busybox")
    python = os.path.realpath("/usr/bin/python3")
    (folder / "init").write_text(_INIT.replace("PYTHON", python))
    (folder / "init").chmod(0o755)
    (folder / "agent").write_text(_AGENT)
    modules = _in_order(kernel / "lib/modules" / kernel.name)
    for path in modules:
        (folder / "modules" / _name(path)).write_bytes(_content(path))
    (folder / "modules/order").write_text("\n".join(map(_name, modules)))
    names = "\n".join(str(path.relative_to(folder)) for path in (folder, *folder.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=folder, input=names.encode(), check=True, capture_output=True
    )
    return packed.stdout


def _in_order(folder: Path) -> list[Path]:
    """The modules that are needed, each after those that it needs itself.

    What a module needs it says itself, as ``depends=a,b``; the package has no list, which is made when it is installed.
    What is not there is built into the kernel.
    """
    there = {_name(path).replace("-", "_"): path for path in folder.rglob("*.ko*")}
    order: dict[str, Path] = {}

    def take(name: str) -> None:
        path = there.get(name.replace("-", "_"))
        if path is None or name in order:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", _content(path))
        for other in found[1].decode().split(",") if found else []:
            take(other)
        order[name] = path

    for name in _MODULES:
        take(name)
    return list(order.values())


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _content(path: Path) -> bytes:
    """A module, unpacked: Debian 13 compresses them with xz, Ubuntu with zstd."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    return pyzstd.decompress(path.read_bytes()) if path.suffix == ".zst" else path.read_bytes()
