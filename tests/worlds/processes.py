"""Background processes with an end: nothing that a test starts outlives it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


class NotReady(AssertionError):
    """A background process ended, or did not become ready in time; says what it wrote."""


@contextlib.contextmanager
def background(
    argv: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running *argv* that is ready; it is ended with SIGTERM, and after 20 seconds with SIGKILL.

    log     receives what it writes
    ready   asked ten times a second, for at most *seconds*
    raises  NotReady, with the last lines of *log*
    """
    # Should the tests be killed, the kernel ends the process too: prctl(2), PR_SET_PDEATHSIG.
    setpriv = shutil.which("setpriv")
    guarded = [setpriv, "--pdeathsig", "TERM", "--", *argv] if setpriv else list(argv)
    with log.open("wb") as out:
        process = subprocess.Popen(guarded, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
    try:
        _wait_until(ready, process, argv, log, seconds)
        yield process
    finally:
        _end(process)


def _wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], argv: Sequence[str], log: Path, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise NotReady(f"{argv[0]} ended with {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise NotReady(f"{argv[0]} was not ready after {seconds:.0f} s:\n{_tail(log)}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def remove_tree(folder: Path) -> None:
    """*folder* is gone, with what is mounted in it and what belongs to the ids of a rootless store."""
    unmount_below(folder)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        # Files of subordinate ids are removed as the root of a namespace that has those ids.
        inside = ["unshare", "--map-root-user", "--map-auto", "rm", "-rf", "--", str(folder)]
        subprocess.run(inside, check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def unmount_below(folder: Path, *, itself: bool = True) -> None:
    """Nothing is mounted in *folder* any more, nor, unless *itself* is false, on it."""
    # proc_pid_mountinfo(5): the fifth field is the mount point, its blanks as \040; the deepest come last.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split(" ")[4].replace("\\040", " ")) for line in lines]
    for point in reversed(points):
        if point.is_relative_to(folder) and (itself or point != folder):
            subprocess.run(["umount", "--lazy", str(point)], check=False, stderr=subprocess.DEVNULL)
