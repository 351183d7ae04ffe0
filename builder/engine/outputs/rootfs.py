"""Outputs that are a root file system, written where its owners can be told: behind the gate.

Where several platforms are built, or one as if it were several, each root has a folder of its own, ``linux_arm64``, in
the folder or tar that is written. With SOURCE_DATE_EPOCH that is the time of all files.

source   BuildKit, exporter/local and exporter/tar; docs/build-repro.md, "SOURCE_DATE_EPOCH"
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.request import Output
from builder.events import Exported, Note
from builder.export.rootfs import write_folder, write_tar
from builder.layer.scan import scan

if TYPE_CHECKING:
    from builder.engine.world import World
    from builder.image.names import Platform
    from builder.layer.changes import Entry
    from builder.layer.ownership import Owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root file system that is to be written.

    tree     where it is to be read
    owners   those that its links and special files do not tell
    moment   the time of all its files, seconds since the epoch: SOURCE_DATE_EPOCH; None: their own
    clamp    the time that none of its files is later than, likewise
    """

    platform: Platform
    tree: Path
    owners: Owners
    moment: int | None = None
    clamp: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder where there are several."""
        return str(self.platform).replace("/", "_")

    def entries(self) -> Iterator[Entry]:
        """All that is in it, with the times that it is to have."""
        found = scan(self.tree, self.owners)
        if self.moment is None and self.clamp is None:
            return iter(found)
        return (replace(entry, mtime=self._time(entry.mtime)) for entry in found)

    def _time(self, mtime: int) -> int:
        if self.moment is not None:
            return self.moment * 1_000_000_000
        return mtime if self.clamp is None else min(mtime, self.clamp * 1_000_000_000)


def write_roots(outputs: Sequence[Output], roots: Sequence[Root], world: World, *, apart: bool) -> None:
    """Write *roots* to each of *outputs*.

    apart   each root has a folder of its own, even if there is but one
    """
    for output in outputs:
        if output.kind == "local":
            for root in roots:
                _write_local(root, str(Path(output.dest, root.name)) if apart else output.dest, world, apart=apart)
            continue
        if apart:
            with _side_by_side(roots, world) as tree:
                size = write_tar(_prefixed(roots), tree, output.dest)
        else:
            (root,) = roots
            size = write_tar(root.entries(), root.tree, output.dest)
        world.emit(Exported(output.kind, output.dest, size, (), ""))


def _write_local(root: Root, dest: str, world: World, *, apart: bool) -> None:
    size = write_folder(root.entries(), root.tree, dest, note=lambda text: world.emit(Note("warning", text)))
    if apart and root.moment is not None:
        os.utime(dest, (root.moment, root.moment))
    world.emit(Exported("local", dest, size, (), ""))


def _sorted(roots: Sequence[Root]) -> list[Root]:
    return sorted(roots, key=lambda root: root.name)


def _prefixed(roots: Sequence[Root]) -> Iterator[Entry]:
    """All entries of all *roots*, under their folders' names."""
    for root in _sorted(roots):
        folder = root.name.encode()
        for entry in root.entries():
            path = folder + b"/" + entry.path if entry.path else folder
            hardlink = None if entry.hardlink is None else folder + b"/" + entry.hardlink
            yield replace(entry, path=path, hardlink=hardlink)


@contextmanager
def _side_by_side(roots: Sequence[Root], world: World) -> Iterator[Path]:
    """A folder in which each of *roots* is seen under its name; read-only, so that its removal reaches none of them."""
    # Only several platforms in one tar need it.
    from native import constants, mounts, syscalls

    place = world.store.scratch.folder()
    seen: list[Path] = []
    try:
        for root in _sorted(roots):
            target = place / root.name
            target.mkdir()
            mounts.perform(mounts.Mount(kind="rbind", source=root.tree, target=target, read_only=True))
            seen.append(target)
        yield place
    finally:
        for target in seen:
            syscalls.umount(target, constants.MNT_DETACH)
        with suppress(OSError):  # what is left here is removed with the folder of this process
            for target in seen:
                target.rmdir()
            place.rmdir()
