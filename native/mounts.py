"""Mounts as values: described purely, performed in order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount.

    kind     ``bind``, ``rbind``, ``overlay``, ``tmpfs``, ``proc``, ``sysfs``, ``devpts``, ``mqueue``, ``cgroup2``
    source   of a bind
    lowers, upper, work   of an overlay; lowers topmost first
    options  file-system options as ``key=value`` words (``mode=755``)
    """

    kind: str
    target: Path
    source: Path | None = None
    lowers: tuple[Path, ...] = ()
    upper: Path | None = None
    work: Path | None = None
    options: tuple[str, ...] = ()
    read_only: bool = False
    nosuid: bool = False
    nodev: bool = False
    noexec: bool = False
