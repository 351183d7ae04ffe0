"""Odd calls, many at once, and calls that end before they are answered: on every rung what root without one is told."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench
from worlds.jails import jailed

PROGRAM = Path(__file__).resolve().parents[1] / "worlds/programs/odd.c"
AROUND = ["io_uring: EPERM", "clone3: ENOSYS", "user namespace: EPERM"]
"""What a command may not, whoever runs it."""
TOLD = [
    "fchownat of what is open: done",
    "one: 33:44",
    *["statx: done 33:44"] * 3,
    "linkat of what has no name: done",
    "named: 7:8",
    "exchange: done",
    "link, which was two: 9:10",
    "two, which was link: 5:6",
    "a whiteout: EPERM",
    "a rename that leaves one: EINVAL",
    "a name that is no UTF-8: done",
    "it: 11:12",
    "a path of 4095: done",
    "a path of 4096: ENAMETOOLONG",
    "one: 13:14",
    "no path: EFAULT",
    "an empty path: ENOENT",
    "posix_spawn: 0 0",
    "posix_spawn of what is not there: ENOENT",
    "a script without interpreter: ENOENT",
    "vfork: 0",
    "200 threads: 0 wrong",
    "after 60 were killed: done",
    "victim: 21:22",
    "interrupted: 0 failed, done",
]


@pytest.fixture(scope="module")
def program(workroom: Path, require: Callable[..., None]) -> bytes:
    require("gcc")
    made = workroom / "odd"
    subprocess.run(["gcc", "-O1", "-static", "-pthread", "-w", "-o", made, PROGRAM], check=True)
    return made.read_bytes()


@pytest.fixture(params=["root", "sub-ids", "one id", "one id in copies", "a jail"])
def rung(request: pytest.FixtureRequest, program: bytes, require_root: Callable[[], None]) -> Bench:
    require_root()
    bench = request.getfixturevalue("bench" if request.param in ("root", "a jail") else "bench_rootless")
    assert isinstance(bench, Bench)
    bench.write(files={"odd": program})
    if request.param.startswith("one id"):
        copies = ("--isolation=copy",) if request.param.endswith("copies") else ()
        return replace(bench, words=("--userns=single", *copies))
    return jailed(bench) if request.param == "a jail" else bench


def _said(bench: Bench, words: str) -> list[str]:
    bench.write(f"FROM base\nCOPY --chmod=755 odd /bin/odd\nWORKDIR /w\nRUN odd {words}\n")
    return bench.build().said.splitlines()


def test_odd_calls_do_what_they_do_for_root(rung: Bench, request: pytest.FixtureRequest) -> None:
    said = _said(rung, "names started threads killed interrupted")
    if "a jail" in request.node.name:  # a way through /proc/self/fd, which is answered for some calls only
        assert said[5:7] == ["linkat of what has no name: ENOENT", "named: ENOENT"]
        said[5:7] = TOLD[5:7]
    assert said == TOLD


@pytest.mark.parametrize("rung", ["one id", "a jail"], indirect=True)
def test_two_thousand_processes_change_who_they_are_at_once(rung: Bench) -> None:
    assert _said(rung, "processes 2000") == ["processes at once: 0 wrong"]


@pytest.fixture
def host_socket() -> Iterator[str]:
    """The name of an abstract socket that listens on the host."""
    name = "pybuild-test-of-scopes"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        yield name


@pytest.mark.parametrize("rung", ["root", "sub-ids", "one id", "a jail"], indirect=True)
def test_what_is_not_a_command_s_is_refused(rung: Bench, request: pytest.FixtureRequest, host_socket: str) -> None:
    reached, own, *said = _said(rung, f"abstract {host_socket} around")
    assert [line for line in said if not line.startswith(("x32", "listener"))] == AROUND
    assert [line for line in said if line.startswith("x32")] in ([], ["x32: ENOSYS"])
    # The kernel has one place for a supervisor; where it is ours another program is told so.
    assert said[-1] == ("listener: done" if "root" in request.node.name else "listener: EBUSY")
    assert own == "own abstract: done"
    if _scopes():
        assert reached == "abstract: EPERM"


def _scopes() -> bool:
    """Whether the kernel's Landlock has scopes, by its version alone: for what is tried is our call."""
    release = Path("/proc/sys/kernel/osrelease").read_text().split(".")
    active = Path("/sys/kernel/security/lsm")
    landlock = not active.exists() or "landlock" in active.read_text()
    return (int(release[0]), int(release[1])) >= (6, 12) and landlock
