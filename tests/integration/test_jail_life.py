"""A command in a jail, where no namespace ends it: nothing that it started is left, and nothing of a secret."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers, processes_of
from worlds.jails import jailed

JAILED = "isolation: copy, identities: chroot"


@pytest.fixture
def jail(require_root: Callable[[], None], bench: Bench) -> Bench:
    """Root's bench where no namespace is to be had."""
    require_root()
    return jailed(bench)


def _start(bench: Bench, *words: str) -> subprocess.Popen[bytes]:
    with (bench.room / "log").open("wb") as log:
        return subprocess.Popen(
            [*bench.pybuild.launch, *bench.all_words("--progress=plain", *words, output="type=cacheonly")],
            env=bench.pybuild.person.environment() | {"PYBUILD_ROOT": str(bench.store)},
            cwd=bench.room,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def _until(reached: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_memory_file_system_has_the_mode_of_the_folder_that_was_there(jail: Bench) -> None:
    jail.write(
        "FROM base\nRUN mkdir -m 750 /there\n"
        "RUN --mount=type=tmpfs,target=/there --mount=type=tmpfs,target=/new stat -c %a /there /new >/modes\n"
    )
    _, image = jail.image()
    assert image.files()["modes"] == b"750\n1777\n"
    assert "new" not in image.members(-1)


def test_a_daemon_ends_with_the_command_that_started_it(jail: Bench) -> None:
    jail.write(
        f"FROM base\nENV OF={jail.room}\n"
        "RUN (setsid sh -c 'trap \"\" TERM HUP; echo up >/up; sleep 1000 & sleep 1000' &) ;"
        " while ! [ -s /up ]; do :; done\n"
        "RUN test -s /up && ps -o args | grep -c '^sleep' >/left; true\n"
    )
    built, image = jail.image()
    assert [one["text"] for one in built.named("note") if "identities" in one["text"]] == [JAILED]
    assert image.files()["left"] == b"0\n"
    assert processes_of(jail.room) == []


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_a_build_that_is_ended_leaves_no_process_and_no_secret(jail: Bench, how: str) -> None:
    (jail.room / "secret").write_text("the words of the secret")
    jail.write(
        f"FROM base\nENV OF={jail.room}\n"
        "RUN --mount=type=secret,id=one,target=/etc/secret --mount=type=cache,target=/cache"
        " trap '' TERM INT HUP; cat /etc/secret >/dev/null; (setsid sleep 1000 &) ; echo started;"
        " sleep 1001; sleep 1002\n"
    )
    secret = f"--secret=id=one,src={jail.room}/secret"
    process = _start(jail, secret)
    _until(lambda: " started\n" in _text(jail.room / "log"), "the command starts")
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, getattr(signal, how))
    process.wait(60)
    _until(lambda: processes_of(jail.room) == [], "all processes end")
    # What a kill leaves the next build sweeps.
    jail.write("FROM base\nRUN true\n")
    jail.build()
    assert leftovers(jail.store) == []
    found = subprocess.run(["grep", "-r", "the words of the secret", jail.store], capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("whose", "what"),
    [("parent", "answers a command's questions about /proc"), ("parent's parent", "looked after the command")],
)
def test_the_keeper_of_a_command_killed_is_told_and_nothing_is_left(jail: Bench, whose: str, what: str) -> None:
    jail.write(f"FROM base\nENV OF={jail.room}\nRUN (setsid sleep 1000 &) ; echo started; sleep 1001; sleep 1002\n")
    process = _start(jail)
    _until(lambda: " started\n" in _text(jail.room / "log"), "the command starts")
    said = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(jail.room)}
    (command,) = [pid for pid, words in said.items() if b"started" in words and os.getsid(pid) == pid]
    os.kill(_parent(command) if whose == "parent" else _parent(_parent(command)), signal.SIGKILL)
    assert process.wait(60) == 1
    assert f"error[killed]: the process that {what} was killed from outside\n" in (jail.room / "log").read_text()
    _until(lambda: processes_of(jail.room) == [], "all processes end")
    assert leftovers(jail.store) == []


def test_who_answers_for_proc_is_above_all_that_a_command_starts(jail: Bench) -> None:
    """Where Yama lets a process look at its descendants only, as on Ubuntu, it still may."""
    jail.write(f"FROM base\nENV OF={jail.room}\nRUN (setsid sleep 1000 &) ; echo started; sleep 1001; sleep 1002\n")
    process = _start(jail)
    _until(lambda: " started\n" in _text(jail.room / "log"), "the command starts")
    _until(lambda: len(_called(jail, "sleep")) == 2, "both sleep")
    (answers,) = [pid for pid in processes_of(jail.room) if "anon_inode:seccomp notify" in _open(pid)]
    for pid in _called(jail, "sleep"):
        above = [pid]
        while above[-1] > 1:
            above.append(_parent(above[-1]))
        assert answers in above
    process.terminate()
    process.wait(60)


def _called(bench: Bench, program: str) -> list[int]:
    """The bench's processes that run *program*."""
    names = {pid: _text(Path(f"/proc/{pid}/cmdline")).partition("\0")[0] for pid in processes_of(bench.room)}
    return [pid for pid, name in names.items() if name == program]


def _open(pid: int) -> list[str]:
    """What a process has open."""
    found = []
    with suppress(OSError):  # it ended meanwhile
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_exit_code_and_the_signal_are_the_command_s(jail: Bench) -> None:
    jail.write("FROM base\nRUN exit 7\n")
    assert jail.build(check=False).error["message"].endswith(": exit code: 7")
    jail.write("FROM base\nRUN kill -SEGV $$\n")
    assert jail.build(check=False).error["message"].endswith(": signal 11, exit code: 139")
    jail.write('FROM base\nRUN ["/no/such"]\n')
    missing = jail.build(check=False).error
    assert (missing["code"], missing["message"]) == (
        "command-not-found",
        'exec: "/no/such": stat /no/such: no such file or directory',
    )


def test_logs_that_lead_to_the_streams_are_written_there(jail: Bench) -> None:
    """As in nginx's image, whose logs are links to /dev/stdout and /dev/stderr."""
    jail.write(
        "FROM base\n"
        "RUN mkdir -p /log && ln -s /dev/stdout /log/access && ln -s ../dev/stderr /log/error"
        " && ln -s access /log/chain && ln -s /proc/self/fd/1 /log/fd && ln -s loop /log/loop"
        " && ln -s /gone /log/gone\n"
        "RUN echo one >/log/access && echo two >>/log/error && cd /log && echo three >chain && echo four >fd"
        " && test -w chain && test -L chain && ! test -e loop && echo five >gone\n"
        "USER 33:33\nRUN cd /log && echo six >>access && echo seven >/log/error\n"
    )
    built, image = jail.image()
    assert sorted(built.said.splitlines()) == ["four", "one", "seven", "six", "three", "two"]
    assert image.files()["gone"] == b"five\n"
    assert image.files()["log/access"] == b"-> /dev/stdout"
