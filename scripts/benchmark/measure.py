"""What a command cost: seconds, seconds of processor, and the most memory that its processes held at once."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program to run, and what is added to its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one or several commands in a row, with every process that they or their daemon had."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    memory: int  # bytes resident at the worst moment, over all processes; pages that two share count twice


class Failed(RuntimeError):
    """A builder failed; says the command and the end of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A control group that a builder and all that it starts live in, or None where we may not make one.

    Only membership and the processor's clock are taken from it, which both versions of cgroups count without any
    controller being switched on; memory there would count the page cache too, and so differ with what ran before.
    """

    path: Path | None

    def enter(self, command: Sequence[str], part: str) -> list[str]:
        """*command* in the sub-group *part*: a group holds processes or groups, not both (cgroups(7))."""
        if self.path is None:
            return list(command)
        target = self.path / part
        target.mkdir(exist_ok=True)
        return ["/bin/sh", "-c", f'echo $$ >"{target}/cgroup.procs"; exec "$@"', "sh", *command]

    def cpu(self) -> float | None:
        """Seconds of processor that its members have used until now."""
        if self.path is None:
            return None
        usage = self.path / "cpuacct.usage"  # version 1, nanoseconds
        if usage.exists():
            return int(usage.read_text()) / 1e9
        stat = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(stat["usage_usec"]) / 1e6

    def members(self) -> Iterator[int]:
        """The processes in it at this moment."""
        if self.path is None:
            return
        for folder, _, _ in os.walk(
            self.path
        ):  # which passes over what goes while it looks, as a container's group does
            with contextlib.suppress(OSError):
                yield from map(int, Path(folder, "cgroup.procs").read_text().split())


@contextlib.contextmanager
def control_group(name: str) -> Iterator[Group]:
    """A group of our own, where this machine lets us make one."""
    roots = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup"))
    root = next(root for root in (*roots, Path("/")) if (root / "cgroup.procs").exists() or root == Path("/"))
    path = root / name
    try:
        path.mkdir()
    except OSError:
        yield Group(path=None)
        return
    try:
        yield Group(path=path)
    finally:
        _remove_group(path)


def _remove_group(path: Path) -> None:
    below = sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True)
    for folder in (*below, path):
        for _ in range(50):  # a member that has just ended is still counted for a moment
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.02)


def measure(commands: Iterable[Command], group: Group, *, cwd: Path) -> Cost:
    """What the *commands* cost, one after the other.

    raises   Failed, with the end of the output, if one of them does not end with 0
    """
    before = _processor(group)
    start = time.perf_counter()
    with _watch(group) as peak:
        for command in commands:
            _run(command, group, cwd, peak)
    wall = time.perf_counter() - start
    return Cost(wall=wall, cpu=_processor(group) - before, memory=peak.most)


def _run(command: Command, group: Group, cwd: Path, peak: _Peak) -> None:
    log = cwd / "output"
    with log.open("wb") as out:
        process = subprocess.Popen(
            group.enter(command.argv, "client"),
            env=dict(command.env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        peak.root = process.pid
        code = process.wait()
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise Failed(f"{' '.join(command.argv)}: exit code {code}\n{tail}")


def _processor(group: Group) -> float:
    inside = group.cpu()
    if inside is not None:
        return inside
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Peak:
    """The most that was seen."""

    def __init__(self) -> None:
        self.most = 0
        self.root: int | None = None  # without a group, the process whose tree is looked at


@contextlib.contextmanager
def _watch(group: Group) -> Iterator[_Peak]:
    """Looks at the memory of all members fifty times a second, until the block ends."""
    peak, done = _Peak(), threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            members = list(group.members()) if group.path else list(_tree(peak.root))
            peak.most = max(peak.most, sum(map(_resident, members)))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has ended
        return 0


def _tree(root: int | None) -> Iterator[int]:
    if root is None:
        return
    yield root
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))
