"""Control groups made, entered and removed.

A build has one group, and each of its commands one in it, with the limits; should our own processes be in the way,
they move into another::

    the place/                    nearest to ours where it can be, or --cgroup-parent
      pybuild-1f0c32d7/           flock: whoever gets it knows that the build is gone
        builder/                  our own processes, if the place may have none
        run-0/  run-1/            memory.max, cpu.max … ; the command, from before its first instruction to its end

A build that is killed leaves its groups, empty, since all of its processes end with it: the next build that wants
limits, and finds its place there or below, takes the lock and removes them. It also leaves the controllers enabled, and
then no process can enter the place itself (EBUSY) until somebody disables them, for who enabled them is not known any
more. Where the place is a scope of systemd's, it is gone with its last process, and all of this with it.

source   Linux, admin-guide/cgroup-v2.rst, "Organizing Processes and Threads", "cgroup.kill", "cgroup.events"
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from builder.errors import HostError
from builder.sandbox import orphans
from builder.sandbox.groups import entering, facts
from builder.sandbox.groups.limits import Limits, numbers
from builder.sandbox.groups.places import Place, places, refusal

_PREFIX = "pybuild-"
_PATIENCE = 5.0
"""Seconds for which killed processes may take to be gone."""


class Groups:
    """The groups of one build. Made by ``delegated``; used by it, and by all that are forked from it.

    folder   the build's;  place  path of the one that it is in
    """

    def __init__(self, folder: Path, place: str, limits: Limits) -> None:
        self.folder = folder
        self.place = place
        self.limits = limits
        self._numbers = itertools.count()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The folder of a new group with the limits; at the end what is in it is killed, and it is removed.

        raises   HostError (``no-control-group``) where the kernel refuses a limit
        """
        folder = self.folder / f"run-{os.getpid()}-{next(self._numbers)}"
        with _refused(self.limits, "its control group cannot be made"):
            folder.mkdir()
        try:
            for name, value in self.limits.files():
                self._write(folder, name, value)
            self._check(folder)
            yield str(folder)
        finally:
            remove(folder)

    def _write(self, folder: Path, name: str, value: str) -> None:
        try:
            (folder / name).write_text(value)
        except FileNotFoundError:
            # A kernel without swap, or its accounting, has no such file: nothing is to be limited, or cannot be.
            if name == "memory.swap.max" and (value == "max" or not _swap()):
                return
            raise refusal(
                self.limits, f"this kernel has no {name}", "boot it with swapaccount=1, or say --memory-swap -1"
            ) from None
        except OSError as error:
            raise refusal(
                self.limits, f"the kernel refuses {value!r} for {name}: {error.strerror}", "give another value"
            ) from None

    def _check(self, folder: Path) -> None:
        """Processors that are not there are taken without a word, and the group gets what there is: not with us.

        source   moby, daemon_unix.go, verifyPlatformContainerResources, whose words these are
        """
        for name, wanted, what in (
            ("cpuset.cpus.effective", self.limits.cpuset_cpus, "CPUs"),
            ("cpuset.mems.effective", self.limits.cpuset_mems, "memory nodes"),
        ):
            if wanted:
                there = (self.folder / name).read_text().strip()
                if not numbers(wanted) <= numbers(there):
                    raise HostError(
                        f"requested {what} are not available: requested {wanted}, available: {there}",
                        code="no-control-group",
                    )


@contextmanager
def delegated(limits: Limits) -> Iterator[Groups]:
    """The groups of a build with *limits*: tried, so that whatever is refused is refused here; removed at the end.

    raises   HostError (``no-control-group``) with what is missing, and the smallest mend
    """
    ours = frozenset((os.getpid(), *orphans.descendants(os.getpid())))
    refused: HostError | None = None
    seen = facts.look(limits.parent)
    for group in seen.groups:
        if group.writable:
            _sweep(group.folder)
    with ExitStack() as stack:
        for place in places(seen, limits, ours, root=os.geteuid() == 0):
            try:
                groups = stack.enter_context(_opened(place, limits))
            except HostError as error:
                # "Enabled" may mean less than it says: another one's processes come meanwhile, a limit on groups.
                refused = refused or error
                continue
            yield groups
            return
    assert refused is not None
    raise refused


@contextmanager
def _opened(place: Place, limits: Limits) -> Iterator[Groups]:
    with ExitStack() as stack:
        with _refused(limits, f"no control group can be made in {place.group.path}"):
            folder, lock = _claim(place.group.folder)
        stack.callback(os.close, lock)
        stack.callback(_close, folder)
        if place.moves:
            stack.enter_context(_out_of_the_way(place, folder, limits))
        elif place.enable:
            # Not disabled afterwards: who else has come to rely on it meanwhile, is not known.
            _enable(place.group.folder, place.enable, limits)
        _enable(folder, limits.controllers, limits)
        groups = Groups(folder, place.group.path, limits)
        _try(groups)
        yield groups


@contextmanager
def _out_of_the_way(place: Place, folder: Path, limits: Limits) -> Iterator[None]:
    """Our processes in a group of their own, and the controllers enabled where they were; at the end both undone."""
    own = folder / "builder"
    with _refused(limits, f"our processes cannot leave the control group {place.group.path}"):
        own.mkdir()
        _move(place.moves, own)
    try:
        _enable(place.group.folder, place.enable, limits)
        yield
    finally:
        # EBUSY while another build has a group here with the same controllers: then ours stays, and the next sweeps it.
        with suppress(OSError):
            for unwanted in (folder, place.group.folder):
                _control(unwanted, "-", limits.controllers if unwanted == folder else place.enable)
            _move(facts.processes(own), place.group.folder)


def _move(pids: frozenset[int], folder: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended
            (folder / "cgroup.procs").write_text(str(pid))


def _enable(folder: Path, controllers: frozenset[str], limits: Limits) -> None:
    with _refused(limits, f"{' '.join(sorted(controllers))} cannot be enabled in the control group {folder}"):
        _control(folder, "+", controllers)


def _control(folder: Path, sign: str, controllers: frozenset[str]) -> None:
    if controllers:
        (folder / "cgroup.subtree_control").write_text(" ".join(f"{sign}{name}" for name in sorted(controllers)))


def _try(groups: Groups) -> None:
    """Have a process enter a group with the limits, as each command will."""
    with groups.fresh() as folder:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                entering.enter(entering.entrance(folder))
                code = 0
            except OSError as error:
                code = error.errno or 1
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        why = os.strerror(code) if code > 0 else f"it was killed by signal {-code}"
        raise refusal(
            groups.limits,
            f"a process cannot enter a control group in {groups.place}: {why}",
            "both that group and the one where pybuild is have to lie below one that this user may write to: start "
            "pybuild there",
        )


def _claim(place: Path) -> tuple[Path, int]:
    """A new group of a build, and its lock."""
    while True:
        folder = place / f"{_PREFIX}{os.urandom(4).hex()}"
        folder.mkdir()  # leaves: an empty group without a lock; the next sweep removes it
        with suppress(FileNotFoundError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            # A sweep may have come between, and removed it: the lock is on nothing then.
            if _locked(fd) and folder.exists():
                return folder, fd
            os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(place: Path) -> None:
    """Remove the groups of builds that are gone."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            if _locked(fd):
                remove(folder)
        finally:
            os.close(fd)


def _close(folder: Path) -> None:
    """Remove the group of a build that has ended; should our own processes still be in it, they are not killed."""
    for below in _listed(folder):
        if below.name.startswith("run-"):
            remove(below)
    if not facts.processes(folder / "builder"):
        _rmdir(folder / "builder")
        _rmdir(folder)


def remove(folder: Path) -> None:
    """Kill all in the group and those below it, and remove them; what is not ours, or not gone in time, stays."""
    with suppress(OSError):  # before Linux 5.14 there is no such file; then those in it have been ended otherwise
        if not _empty(folder):
            (folder / "cgroup.kill").write_text("1")
    for below in _listed(folder):
        remove(below)
    _rmdir(folder)


def _rmdir(folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # Who has been killed, or has just ended, is counted until its parent has taken notice.
            left = until - time.monotonic()
            if error.errno != errno.EBUSY or left <= 0:
                return
            _wait_until_empty(folder, min(left, 0.1))
        else:
            return


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _empty(folder: Path) -> bool:
    return "populated 0" in (folder / "cgroup.events").read_text()


def _wait_until_empty(folder: Path, seconds: float) -> None:
    with suppress(OSError), open(folder / "cgroup.events") as events:
        events.read()
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        if not _empty(folder):
            poll.poll(seconds * 1000)
        else:
            time.sleep(0.001)


def _swap() -> bool:
    """Whether this machine has swap. source: proc_swaps(5)."""
    with open("/proc/swaps") as table:
        return len(table.readlines()) > 1


@contextmanager
def _refused(limits: Limits, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(limits, f"{what}: {error.strerror}", "'pybuild doctor' says what is possible here") from None
