"""What this machine allows, tried: identities, namespaces, snapshotters, emulators; and why no better ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from builder.engine.behind import behind, snapshotter_for
from builder.engine.running.foreign import as_somebody, emulation, foreign
from builder.engine.running.limiting import limited
from builder.errors import HostError
from builder.events import Emit, Event, Note
from builder.image.names import Platform
from builder.sandbox.gate import Identity, chrooted, identity
from builder.sandbox.groups.limits import Limits
from builder.sandbox.refusals import NO_USER_NAMESPACE
from builder.sandbox.runner import Runner
from builder.snapshot.choose import fuse_lost, unfaithful
from builder.store.store import Store

_IDENTITIES = {
    "none": "root, without a user namespace",
    "subid": "a user namespace with the ids of /etc/subuid and /etc/subgid",
    "single": "a user namespace with one id",
}
_OWN = "a user namespace with all ids of the present one, which root has without CAP_SYS_ADMIN"
_JAILED = "root, without any namespace"
_JAIL = (
    "commands run by chroot in copied trees, with real owners and ids; mounts are copies, /proc is emulated, and there"
    " is no --network=none, no read-only root, and no protection of the container from the command"
)
_SNAPSHOTTERS = {
    "overlay": "layers are mounted upon each other by the kernel",
    "fuse-overlayfs": "layers are mounted upon each other by a program",
    "copy": "layers are copied, with shared extents where the file system has them",
}
_COMMON = (Platform("linux", "amd64"), Platform("linux", "arm64"))
_MARGIN = 1 << 30
"""Bytes that should be free in the store's file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One way to do something; of each topic the better ones come first.

    topic   ``identities``, ``namespaces``, ``isolation``, ``platforms``, ``limits``, ``store``
    name    as the option says it: ``subid``, ``overlay``, ``linux/arm64``
    works   whether this machine allows it; None: it was not tried, since what it needs does not work
    taken   whether a build takes it if nothing else is asked for
    detail  what it is, or why it does not work;  hint  what makes it work
    """

    topic: str
    name: str
    works: bool | None
    taken: bool = False
    detail: str = ""
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All that was found. ``able``: builds can be made here."""

    kernel: str
    platform: Platform
    store: str
    filesystem: str
    free: int
    rungs: tuple[Rung, ...]

    @property
    def able(self) -> bool:
        """Whether a build can be made: there are namespaces, or a jail, and a snapshotter."""
        taken = {rung.topic for rung in self.rungs if rung.taken and rung.works}
        return {"identities", "namespaces", "isolation"} <= taken


def diagnose(root: Path) -> Diagnosis:
    """What this machine allows to a build whose store is *root*.

    raises   StoreError if the store cannot be opened
    """
    with Store.open(root):
        system = os.uname()
        free = shutil.disk_usage(root).free
        rungs = tuple(_rungs(root))
        if any(rung.topic == "namespaces" and rung.works for rung in rungs):
            rungs += tuple(_platforms(root))
        return Diagnosis(
            kernel=f"{system.sysname} {system.release}",
            platform=Platform.normalised("linux", system.machine),
            store=str(root),
            filesystem=_filesystem(root),
            free=free,
            rungs=(*rungs, *_limits(), *_room(free)),
        )


def _rungs(root: Path) -> Iterator[Rung]:
    try:
        taken = identity()
    except HostError:
        taken = None
    if taken is None:
        yield from _identities(taken)
        yield Rung(topic="namespaces", name="namespaces", works=None, detail="not tried: there is no identity for them")
        return
    # Copies work wherever the gate opens.
    try:
        found = behind(taken, lambda _: tuple(_snapshotters(root, taken)))
    except HostError as error:
        jailed = chrooted()
        if jailed is None or error.code not in NO_USER_NAMESPACE:
            yield from _identities(taken)
            yield _refused("namespaces", "namespaces", error)
        else:
            yield from _in_a_jail(root, jailed, error)
        return
    yield from _identities(taken)
    yield Rung(topic="namespaces", name="namespaces", works=True, taken=True, detail=_map(taken))
    yield from found


def _in_a_jail(root: Path, who: Identity, refusal: HostError) -> Iterator[Rung]:
    """A container's root whose profile grants no namespace."""
    yield Rung(topic="identities", name="auto", works=False, detail=_OWN)
    yield Rung(topic="identities", name="none", works=True, taken=True, detail=_JAILED)
    yield _refused("namespaces", "namespaces", refusal)
    yield Rung(topic="namespaces", name="jail", works=True, taken=True, detail=_JAIL)
    # No other file system or program would help.
    for rung in behind(who, lambda _: tuple(_snapshotters(root, who))):
        yield rung if rung.works else replace(rung, hint=None)


def _identities(taken: Identity | None) -> Iterator[Rung]:
    known = set()
    jailed: list[Rung] = []
    for name, what in _IDENTITIES.items():
        try:
            who = identity(name)
            if who.kind == "subid" and who != taken:
                behind(who, lambda _: None)  # files grant it; newuidmap may not, as without its rights
        except HostError as error:
            if name == "none":
                yield Rung(topic="identities", name=name, works=False, detail=error.message)
            else:
                yield _refused("identities", name, error)
            continue
        known.add(who.key)
        if who.kind == "chroot":
            jailed.append(Rung(topic="identities", name=name, works=True, detail=_JAILED))
        else:
            yield Rung(topic="identities", name=name, works=True, taken=who == taken, detail=what)
    if taken is not None and taken.key not in known:
        yield Rung(topic="identities", name="auto", works=True, taken=True, detail=_OWN)
    yield from jailed


def _snapshotters(root: Path, who: Identity) -> Iterator[Rung]:
    """Behind the gate: each is chosen, which tries it."""
    best = snapshotter_for(root, who).name
    for name, what in _SNAPSHOTTERS.items():
        try:
            snapshotter_for(root, who, name)
        except HostError as error:
            yield _refused("isolation", name, error)
            continue
        if name == "fuse-overlayfs" and (lost := fuse_lost(root)):
            what += f"; auto does not take it, for {unfaithful(lost)}"
        yield Rung(topic="isolation", name=name, works=True, taken=name == best, detail=what)


def _platforms(root: Path) -> Iterator[Rung]:
    """Whether commands of the other common platforms run."""
    for platform in sorted(foreign(_COMMON), key=str):
        yield _platform(root, platform)


def _platform(root: Path, platform: Platform) -> Rung:
    """What a build does for *platform*, up to its first command."""
    others, said = frozenset({platform}), list[Event]()

    def as_one(who: Identity) -> None:
        behind(who, lambda send: _emulate(who, others, root, send), said.append)

    try:
        as_somebody(as_one, "auto", others)
    except HostError as error:
        return _refused("platforms", str(platform), error)
    how = next((event.text for event in said if isinstance(event, Note)), "its programs run here")
    return Rung(topic="platforms", name=str(platform), works=True, detail=how)


def _emulate(who: Identity, others: frozenset[Platform], root: Path, emit: Emit) -> None:
    with Runner(jailed=who.kind == "chroot") as runner:
        emulated = emulation(runner, who, others, root, emit)
        if emulated is not None:
            for platform in others:
                emulated.ready(platform)


def _limits() -> Iterator[Rung]:
    """Whether a command can be limited: each controller is tried, with a process of ours in the place of a command."""
    wanted = {
        "memory": Limits(memory=1 << 30),
        "cpu": Limits(cpu_shares=1024),
        "cpuset": Limits(cpuset_cpus=str(min(os.sched_getaffinity(0)))),
        "pids": Limits(pids=1 << 16),
    }
    refused: dict[str, HostError] = {}
    where: set[str] = set()
    for name, limits in wanted.items():
        try:
            with limited(limits) as groups:
                where |= {groups.place} if groups else set()
        except HostError as refusal:
            refused[name] = refusal
    kept = ", ".join(name for name in wanted if name not in refused)
    if kept:
        detail = f"commands get control groups of their own in {' or '.join(sorted(where))}"
        yield Rung(topic="limits", name=kept, works=True, detail=detail)
    said: dict[tuple[str, str | None], list[str]] = {}
    for name, error in refused.items():
        reason = error.message.partition(" cannot be kept here: ")[2] or error.message
        said.setdefault((reason, error.hint), []).append(name)
    for (reason, hint), names in said.items():
        yield Rung(topic="limits", name=", ".join(names), works=False, detail=reason, hint=hint)


def _room(free: int) -> Iterator[Rung]:
    if free < _MARGIN:
        yield Rung(
            topic="store",
            name="room",
            works=False,
            detail=f"there are {free >> 20} MiB free, and one base image may need more",
            hint="pybuild prune removes what no build needs; --root puts the store elsewhere",
        )


def _refused(topic: str, name: str, error: HostError) -> Rung:
    return Rung(topic=topic, name=name, works=False, detail=error.message, hint=error.hint)


def _map(who: Identity) -> str:
    if not who.uids:
        return "all ids are themselves"
    users, groups = (sum(extent.count for extent in extents) for extents in (who.uids, who.gids))
    return f"{users:,} user id{'s'[: users > 1]} and {groups:,} group id{'s'[: groups > 1]}"


def _filesystem(path: Path) -> str:
    """The kind of file system that *path* lies in. source: proc_pid_mountinfo(5)."""
    real, best, kind = os.path.realpath(path), "", "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.split(" ")
            point = fields[4].replace("\\040", " ")
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            # Of mounts upon each other the last one shows.
            if inside and len(point) >= len(best):
                best, kind = point, fields[fields.index("-", 6) + 1]
    return kind
