"""Where control groups are mounted, which one is ours, and what those above it offer, as the kernel tells it.

source   cgroups(7), "/proc/pid/cgroup"; proc_pid_mountinfo(5); Linux, admin-guide/cgroup-v2.rst
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A mount of the version 2 hierarchy: the group at its top, and where it is."""

    top: str
    folder: Path
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What one control group offers.

    path         in the hierarchy, as we see it;  folder  where it is mounted
    kind         ``cgroup.type``: ``domain``, ``threaded`` …; "" for the root of all, which alone has no such file
    controllers  those that it has;  enabled  those of them that groups in it have
    processes    ids of those in it, 0 for each that is in no namespace of ours
    writable     whether a group can be made in it, controllers enabled, and processes moved below it
    """

    path: str
    folder: Path
    kind: str = "domain"
    controllers: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    processes: frozenset[int] = frozenset()
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known: controllers that version 1 has taken, the mount, our group and those above it, ours first."""

    first_version: frozenset[str] = frozenset()
    mounted: Mounted | None = None
    groups: tuple[Group, ...] = ()


def memberships(text: str) -> tuple[str, frozenset[str]]:
    """The path of our group in version 2, "" if there is none, and the controllers of version 1, of *text*, a
    ``/proc/PID/cgroup``.
    """
    path = ""
    first: set[str] = set()
    for line in text.splitlines():
        number, controllers, where = line.split(":", 2)
        if number == "0":
            path = where
        else:
            first.update(name for name in controllers.split(",") if name and "=" not in name)
    return path, frozenset(first)


def mounts(text: str) -> Iterator[Mounted]:
    """The mounts of version 2 in *text*, a ``/proc/PID/mountinfo``."""
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, super_fields = before.split(" "), after.split(" ")
        if dash and super_fields[0] == "cgroup2":
            options = {*fields[5].split(","), *super_fields[-1].split(",")}
            yield Mounted(top=_plain(fields[3]), folder=Path(_plain(fields[4])), read_only="ro" in options)


def _plain(text: str) -> str:
    """Blanks and the like are written as octal numbers. source: proc_pid_mountinfo(5)."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), text)


def below(path: str, top: str) -> tuple[str, ...] | None:
    """The names that lead from the group *top* down to *path*; None if it is not below it.

    A group above the root of our control group namespace is written with ``..``: cgroup_namespaces(7).
    """
    names, above = [name for name in path.split("/") if name], [name for name in top.split("/") if name]
    if ".." in names or names[: len(above)] != above:
        return None
    return tuple(names[len(above) :])


def look(parent: str = "") -> Facts:
    """What this process sees. *parent*: the path of a group that is looked at in place of ours and those above it."""
    path, first = memberships(_read(Path("/proc/self/cgroup")))
    for mounted in mounts(_read(Path("/proc/self/mountinfo"))):
        # As BuildKit and runc take it, a path is one from the top of what is mounted, with or without a first slash.
        names = tuple(name for name in parent.split("/") if name) if parent else below(path, mounted.top)
        if names is None or not (mounted.folder / "cgroup.procs").exists():
            continue
        steps = (names,) if parent else tuple(names[:length] for length in range(len(names), -1, -1))
        groups = tuple(group for step in steps if (group := _group(mounted, step)) is not None)
        return Facts(first_version=first, mounted=mounted, groups=groups)
    return Facts(first_version=first)


def _group(mounted: Mounted, names: tuple[str, ...]) -> Group | None:
    folder = mounted.folder.joinpath(*names)
    if not (folder / "cgroup.procs").exists():
        return None
    needed = (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control")
    return Group(
        path="/" + "/".join(names),
        folder=folder,
        kind=_read(folder / "cgroup.type").strip(),
        controllers=frozenset(_read(folder / "cgroup.controllers").split()),
        enabled=frozenset(_read(folder / "cgroup.subtree_control").split()),
        processes=processes(folder),
        writable=all(os.access(path, os.W_OK, effective_ids=True) for path in needed),
    )


def processes(folder: Path) -> frozenset[int]:
    """Ids of the processes in the group that *folder* is."""
    return frozenset(map(int, _read(folder / "cgroup.procs").split()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # the root of all lacks some; a threaded group's processes cannot be told (EOPNOTSUPP)
