"""Calls that need no privilege, and mounts described."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from native import syscalls
from native.constants import RENAME_EXCHANGE, RENAME_NOREPLACE
from native.mounts import Mount, describe


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/name").write_text("inside")
    (tmp_path / "root/absolute").symlink_to("/etc/name")
    (tmp_path / "root/up").symlink_to("../../../etc/name")
    fd = os.open(tmp_path / "root", os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("name", ["absolute", "up", "/etc/name", "../../etc/name", b"etc/name"])
def test_openat2_resolves_in_its_root(folder, name):
    with open(syscalls.openat2(folder, name, os.O_RDONLY, resolve=syscalls.RESOLVE_IN_ROOT)) as file:
        assert file.read() == "inside"
        assert not os.get_inheritable(file.fileno())


@pytest.mark.parametrize(
    ("name", "resolve", "number"),
    [
        ("absolute", syscalls.RESOLVE_BENEATH, 18),
        ("absolute", syscalls.RESOLVE_NO_SYMLINKS, 40),
        ("absent", syscalls.RESOLVE_IN_ROOT, 2),
    ],
)
def test_openat2_says_which_call_and_which_path_failed(folder, name, resolve, number):
    with pytest.raises(OSError, match=r"openat2: ") as caught:
        syscalls.openat2(folder, name, os.O_RDONLY, resolve=resolve)
    assert (caught.value.errno, caught.value.filename) == (number, name)


def test_renameat2_exchanges_and_does_not_replace(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(FileExistsError):
            syscalls.renameat2(fd, "a", fd, "b", RENAME_NOREPLACE)
        syscalls.renameat2(fd, "a", fd, "b", RENAME_EXCHANGE)
    finally:
        os.close(fd)
    assert (tmp_path / "a").read_text() == "b"


def test_clone_without_namespaces_is_a_fork_that_keeps_signals():
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pid = syscalls.clone(0)
    if pid == 0:
        os._exit(7 if signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before else 8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_mount_data_is_never_cut():
    with pytest.raises(OSError, match=r"mount: options of 4096 bytes or more"):
        syscalls.mount("overlay", "/absent", "overlay", 0, "lowerdir=" + "x" * 4096)


def test_an_unknown_machine_has_no_calls(monkeypatch):
    monkeypatch.setattr(syscalls, "_NUMBERS", {})
    with pytest.raises(OSError, match=r"openat2: Function not implemented"):
        syscalls.openat2(-1, "x", 0)


def test_a_mount_is_described_in_one_line():
    overlay = Mount(
        kind="overlay",
        target=Path("/r"),
        lowers=(Path("/b"), Path("/a")),
        upper=Path("/u"),
        work=Path("/w"),
        nodev=True,
    )
    assert describe(overlay) == "overlay on /r (nodev,lowerdir=/b:/a,upperdir=/u,workdir=/w)"
    assert describe(Mount(kind="rbind", source=Path("/s"), target=Path("/t"), read_only=True)) == "rbind /s on /t (ro)"
    assert describe(Mount(kind="proc", target=Path("/proc"))) == "proc on /proc"


def test_importing_costs_little():
    heavy = "('ctypes', 'cffi', 'subprocess')"
    script = f"import sys; import native.syscalls, native.mounts; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
