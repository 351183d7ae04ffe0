"""Several trees seen as one: what each changed of those below it, as overlayfs shows its layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

Named = tuple[bytes, os.stat_result, tuple[int, ...]]
"""A name, its ``lstat``, and which of the sources have it: one, but for a folder that several have."""


@dataclass(frozen=True, slots=True)
class Source:
    """A tree, or the part of it that differs from what is below.

    removed  paths that those below have and this one no more
    times    modification times of folders that are not in this one, or have another there, in ns since the epoch
    """

    root: Path
    removed: frozenset[bytes] = frozenset()
    times: Mapping[bytes, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(slots=True)
class _Merging:
    status: os.stat_result
    levels: list[int]
    open: bool  # whether those below may add to it


def merged(path: bytes, levels: Sequence[int], folders: Sequence[int], sources: Sequence[Source]) -> Iterator[Named]:
    """What is in the folder *path*.

    sources  the topmost first;  levels  which of them have the folder, and their open *folders*
    """
    if len(levels) == 1 and not any(source.removed for source in sources[: levels[0]]):
        with os.scandir(folders[0]) as items:
            for item in items:
                # scandir of a descriptor gives str, undecodable bytes as surrogates (PEP 383)
                yield os.fsencode(item.name), item.stat(follow_symlinks=False), tuple(levels)
        return
    prefix = path + b"/" if path else b""
    found: dict[str, _Merging] = {}
    for level, folder in zip(levels, folders, strict=True):
        above = [source.removed for source in sources[:level] if source.removed]
        with os.scandir(folder) as items:
            for item in items:
                one = found.get(item.name)
                if one is not None and not one.open:
                    continue
                if any(prefix + os.fsencode(item.name) in removed for removed in above):
                    if one is not None:
                        one.open = False
                    continue
                status = item.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(status.st_mode)
                if one is None:
                    found[item.name] = _Merging(status, [level], is_folder)
                elif is_folder:
                    one.levels.append(level)
                else:
                    one.open = False
    for name, one in found.items():
        yield os.fsencode(name), one.status, tuple(one.levels)


def place_of(sources: Sequence[Source], path: bytes) -> bytes:
    """Where the file *path*, which the merged tree has, is."""
    for source in sources:
        place = os.fsencode(source.root) + b"/" + path
        if os.path.lexists(place):
            return place
    raise FileNotFoundError(path)
