"""What bounds a build, and what is said when it is reached: memory, limits of processes, /dev/shm, room on the disk."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers
from worlds.filesystems import mounted

OUT_OF_MEMORY = (
    "memory ran out, and the kernel killed a process of this build; give it more, or let the command use less"
)
MEGABYTE = 1 << 20


# Memory


@pytest.fixture
def small_group(require_root: Callable[[], None]) -> Iterator[Path]:
    """A control group with memory for a builder and little more."""
    require_root()
    second = Path("/sys/fs/cgroup/cgroup.controllers")
    if second.exists() and "memory" in second.read_text().split():
        top, limit, swap = second.parent, "memory.max", "memory.swap.max"
        (top / "cgroup.subtree_control").write_text("+memory")
    else:
        top, limit, swap = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    if not top.is_dir() or not os.access(top, os.W_OK):
        pytest.skip("no control groups can be made here")
    group = top / f"pybuild-{os.getpid()}"
    group.mkdir()
    (group / limit).write_text(str(160 * MEGABYTE))
    if (group / swap).exists():
        (group / swap).write_text(str(160 * MEGABYTE if "memsw" in swap else 0))
    yield group
    for _ in range(100):
        try:
            group.rmdir()
            return
        except OSError:  # who was in it is not reaped yet
            import time

            time.sleep(0.05)
    group.rmdir()


def within(bench: Bench, group: Path) -> Bench:
    """The bench, with every command of it started in *group*."""
    (group / "cgroup.procs").chmod(0o666)
    enter = ("/bin/sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh")
    return replace(bench, pybuild=replace(bench.pybuild, launch=(*enter, *bench.pybuild.launch)))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("tail -c 900000000 /dev/zero", 137),
        ("tail -c 900000000 /dev/zero || exit 2", 2),  # as make says it of a compiler
        ('["/bin/tail", "-c", "900000000", "/dev/zero"]', 137),
    ],
)
def test_a_command_that_the_kernel_ends_for_want_of_memory_is_told_so(
    bench: Bench, small_group: Path, command: str, code: int
) -> None:
    bench.write(f"FROM base\nRUN {command}\n")
    failed = within(bench, small_group).build(check=False)
    assert failed.error["code"] == "command-failed"
    assert failed.error["exit_code"] == code
    assert failed.error["hint"] == OUT_OF_MEMORY


def test_an_ordinary_user_is_told_too(bench_rootless: Bench, small_group: Path) -> None:
    bench_rootless.write("FROM base\nRUN tail -c 900000000 /dev/zero\n")
    failed = within(bench_rootless, small_group).build(check=False)
    assert (failed.error["exit_code"], failed.error["hint"]) == (137, OUT_OF_MEMORY)


def test_a_command_that_something_else_killed_is_not_said_to_have_wanted_memory(bench_everyone: Bench) -> None:
    bench_everyone.write("FROM base\nRUN sleep 60 & kill -9 $!; wait $!\n")
    failed = bench_everyone.build(check=False)
    assert failed.error["exit_code"] == 137
    assert failed.error["hint"] == (
        "it was killed with SIGKILL, and not by the kernel for want of memory, as far as can be seen here"
    )


# What --ulimit and --shm-size say


def test_what_is_asked_for_is_what_a_command_gets(bench_everyone: Bench) -> None:
    bench_everyone.write("FROM base\nRUN ulimit -Sn; ulimit -Hn; df -k /dev/shm | tail -1 | awk '{print $2}'\n")
    built = bench_everyone.build("--ulimit", "nofile=100:200", "--shm-size", "3m")
    assert built.said == "100\n200\n3072\n"


def test_a_limit_above_the_users_hard_one_is_refused_with_that(bench_rootless: Bench) -> None:
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    bench_rootless.write("FROM base\nRUN true\n")
    refused = bench_rootless.build("--ulimit", f"nofile={highest + 1}", check=False)
    assert refused.error["code"] == "ulimit-refused"
    assert refused.error["message"] == f"the limit nofile cannot be set to {highest + 1}:{highest + 1} here"
    assert refused.error["hint"] == (
        f"this user's hard limit is {highest}; a lower value, or a higher hard limit, is needed"
    )
    assert refused.error["where"].startswith("Dockerfile:2")


# Room


@pytest.fixture
def tight(room: Path, require_root: Callable[[], None]) -> Iterator[Callable[[Bench, int], None]]:
    """``tight(bench, n)``: the file system that ``bench``'s store lies on has *n* more megabytes than are used."""
    require_root()
    with mounted("tmpfs", room / "small", megabytes=64) as place:

        def leave(_: Bench, megabytes: int) -> None:
            import subprocess

            status = os.statvfs(place)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            size = used + megabytes * MEGABYTE
            subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)

        yield leave


def in_small(bench: Bench, room: Path, name: str) -> Bench:
    folder = room / "small/place" / name
    folder.mkdir()
    bench.pybuild.person.owns(folder)
    return replace(bench, pybuild=bench.pybuild.with_store(folder / "store"))


NOISE = "head -c 3000000 /dev/urandom >/noise"
FULL_HINT = "pybuild prune makes room, and --root puts the store elsewhere"
CASES = {
    # what is built, megabytes left, the error's code, what its message begins with
    "a command writes": (f"RUN {NOISE}", 1, "command-failed", "process"),
    "a file is copied": ("COPY noise /noise", 1, "disk-full", "cannot copy to /noise: No space left on device"),
    "a layer is packed": (f"RUN {NOISE}", 4, "disk-full", "no space left while writing "),
    "an archive is written": (f"RUN {NOISE}", 7, "disk-full", "no space left while writing "),
}


@pytest.mark.parametrize("case", CASES)
def test_a_full_disk_is_one_clear_error_and_the_store_is_good_afterwards(
    bench_everyone: Bench, room: Path, tight: Callable[[Bench, int], None], case: str
) -> None:
    text, left, code, message = CASES[case]
    own = in_small(bench_everyone, room, "of")
    own.write("FROM base\nRUN true\n")
    own.build()
    own.write(f"FROM base\n{text}\n", {"noise": os.urandom(3_000_000)})
    tight(own, left)
    archive = room / "small/place/of/out.tar"
    failed = own.build("-o", f"type=oci,dest={archive}", output="", check=False)
    assert (failed.code, failed.error["code"]) == (1, code)
    assert failed.error["message"].startswith(message)
    assert failed.error["hint"]
    if code == "command-failed":
        assert failed.error["hint"].endswith(f" left: {FULL_HINT}")
    assert leftovers(own.store) == []
    assert not archive.exists()
    tight(own, 40)
    assert own.build("-o", f"type=oci,dest={archive}", output="").code == 0


def test_a_base_that_does_not_fit_is_one_clear_error(
    bench_everyone: Bench, room: Path, tight: Callable[[Bench, int], None]
) -> None:
    own = in_small(bench_everyone, room, "of")
    own.write("FROM base\nRUN true\n")
    tight(own, 2)
    failed = own.build("--isolation=copy", check=False)
    assert failed.error["code"] == "disk-full"
    assert failed.error["hint"] == FULL_HINT
    assert leftovers(own.store) == []
    tight(own, 3)  # room for the base, and not for a copy of it
    failed = own.build("--isolation=copy", check=False)
    assert failed.error["code"] == "disk-full"
    assert failed.error["message"] == f"no space left while writing {own.store}"
    assert leftovers(own.store) == []
    tight(own, 40)
    assert own.build("--isolation=copy").code == 0
