"""The command line in a process of its own: on a real terminal, with readers that go away, and with signals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds.terminal import Screen

# A builder that tells of a step for as long as SECONDS says; what is tested is how that is shown.
PROGRAM = """
import os, sys, time, types
from builder.engine.request import Built
from builder.events import *
from builder.image.names import Digest

def build(request, emit):
    emit(PlanReady(2))
    emit(StepCached(1, "0", "COPY . .", 2))
    emit(StepStarted(2, "0", "RUN make", 3))
    end = time.monotonic() + float(os.environ["SECONDS"])
    while time.monotonic() < end:
        emit(StepOutput(2, 1, b"\\x1b[2J\\x1b[31mworking\\x1b[0m " + b"x" * 100 + b"\\n"))
        time.sleep(0.02)
    emit(StepFinished(2, 1.0))
    emit(Exported("docker", "hello.tar", 4_100_000, (), ""))
    emit(BuildFinished(1.5, 1, 2))
    digest = Digest("sha256:" + "0" * 64)
    return Built(digest=digest, config=digest, names=(), metadata={})

module = types.ModuleType("builder.build")
module.build = build
sys.modules["builder.build"] = module
from builder.cli.main import entry
entry()
"""


class OnTerminal:
    """The program, its stderr a terminal of 50 by 12."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.master, slave = pty.openpty()
        self.resize(50)
        environ = os.environ | {"TERM": "xterm", "SECONDS": str(seconds), "NO_COLOR": "1"}
        environ.pop("BUILDKIT_PROGRESS", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "--root", folder / "store", "."],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            cwd=folder,
            env=environ,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.text = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 12, columns, 0, 0))

    def read_until(self, wanted: str, seconds: float = 20) -> None:
        """Read on until *wanted* has come since the last call."""
        fresh, end = "", time.monotonic() + seconds
        while wanted not in fresh:
            assert time.monotonic() < end, f"{wanted!r} never came: {fresh[-500:]!r}"
            fresh += self._read(0.1)

    def finish(self) -> int:
        """Read all that comes, and the exit code."""
        while self.process.poll() is None:
            self._read(0.1)
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> str:
        if not select.select([self.master], [], [], seconds)[0]:
            return ""
        try:
            data = os.read(self.master, 65536)
        except OSError:
            # Linux says EIO when nobody holds the other end any more; pty(7) does not tell.
            return ""
        text = data.decode().replace("\r\n", "\n")
        self.text += text
        return text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.master)


def _take_terminal() -> None:
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def on_terminal(folder: Path, seconds: float) -> Iterator[OnTerminal]:
    running = OnTerminal(folder, seconds)
    try:
        yield running
    finally:
        running.close()


def screen_of(text: str) -> str:
    screen = Screen(50, 12)
    screen.write(text)
    return screen.shown


def test_a_build_on_a_terminal_leaves_its_steps_and_its_result_and_no_garbage(tmp_path: Path) -> None:
    with on_terminal(tmp_path, 0.5) as running:
        running.read_until("   | working xxx")
        assert running.finish() == 0
        assert screen_of(running.text) == (
            "=> CACHED [1/2] COPY . .\n"
            "=> [2/2] RUN make                            1.0s\n"
            "built in 1.5s, 1 of 2 steps cached\n"
            "wrote ./hello.tar (4.1 MB) — load it with: docker load -i hello.tar\n"
        )
        assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", running.text)) <= {f"\x1b[{n}A" for n in range(1, 12)} | {
            "\x1b[J"
        }


def test_lines_are_cut_to_what_the_terminal_has_become(tmp_path: Path) -> None:
    with on_terminal(tmp_path, 60) as running:
        running.read_until("   | working " + "x" * 35 + "…")
        running.resize(30)
        running.read_until("   | working " + "x" * 15 + "…")


def test_ctrl_c_ends_with_130_and_a_clean_screen(tmp_path: Path) -> None:
    with on_terminal(tmp_path, 60) as running:
        running.read_until("working")
        os.write(running.master, b"\x03")
        assert running.finish() == 130
        assert re.fullmatch(
            r"=> CACHED \[1/2\] COPY \. \.\n=> CANCELED \[2/2\] RUN make +[0-9.]+s\ninterrupted\n",
            screen_of(running.text.replace("^C", "")),
        )


def test_sigterm_ends_with_143_and_a_clean_screen(tmp_path: Path) -> None:
    with on_terminal(tmp_path, 60) as running:
        running.read_until("working")
        running.process.send_signal(signal.SIGTERM)
        assert running.finish() == 143
        assert re.search(r"=> CANCELED \[2/2\] RUN make +[0-9.]+s\n$", screen_of(running.text))


def run(folder: Path, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]  # the streams differ from test to test
        [sys.executable, "-c", PROGRAM, "--root", folder / "store", *words],
        cwd=folder,
        env=os.environ | {"SECONDS": "0.1"},
        timeout=60,
        **more,
    )


def test_a_log_that_nobody_reads_any_more_does_not_stop_the_build(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(tmp_path, "--progress=plain", ".", stdout=subprocess.PIPE, stderr=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_result_that_nobody_reads_is_a_failure_without_a_word(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(tmp_path, "--quiet", ".", stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_under_the_log_does_not_stop_the_build(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        assert run(tmp_path, "--progress=plain", ".", stdout=subprocess.PIPE, stderr=full).returncode == 0


@pytest.mark.parametrize("shut", ["stderr", "stdout"])
def test_a_stream_that_is_shut_from_the_start_does_not_stop_the_build(shut: str, tmp_path: Path) -> None:
    closing = {"stderr": "2>&-", "stdout": ">&-"}[shut]
    command = f'exec "$0" -c "$1" --root store --progress=plain . {closing}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, PROGRAM],
        cwd=tmp_path,
        env=os.environ | {"SECONDS": "0"},
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert done.returncode == 0
