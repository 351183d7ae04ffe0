"""Outputs that are a root file system, written where its owners can be told: behind the gate.

Where several platforms are built, each root has a folder of its own, ``linux_arm64``, in the folder or tar that is
written. source: BuildKit, exporter/local and exporter/tar
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
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

Root = tuple["Platform", Path, "Owners"]
"""A root's platform, where it is to be read, and the owners that its links and special files do not tell."""


def write_roots(outputs: Sequence[Output], roots: Sequence[Root], world: World) -> None:
    """Write *roots* to each of *outputs*."""
    clamp = world.settings.clamp
    for output in outputs:
        if output.kind == "local":
            for platform, tree, owners in roots:
                dest = output.dest if len(roots) == 1 else str(Path(output.dest, _name(platform)))
                size = write_folder(
                    scan(tree, owners), tree, dest, note=lambda text: world.emit(Note("warning", text)), clamp=clamp
                )
                world.emit(Exported(output.kind, dest, size, (), ""))
            continue
        if len(roots) == 1:
            ((_, tree, owners),) = roots
            size = write_tar(scan(tree, owners), tree, output.dest, clamp=clamp)
        else:
            with _side_by_side(roots, world) as tree:
                size = write_tar(_prefixed(roots), tree, output.dest, clamp=clamp)
        world.emit(Exported(output.kind, output.dest, size, (), ""))


def _name(platform: Platform) -> str:
    return str(platform).replace("/", "_")


def _sorted(roots: Sequence[Root]) -> list[tuple[str, Path, Owners]]:
    return sorted(((_name(platform), tree, owners) for platform, tree, owners in roots), key=lambda root: root[:2])


def _prefixed(roots: Sequence[Root]) -> Iterator[Entry]:
    """All entries of all *roots*, under their folders' names."""
    for name, tree, owners in _sorted(roots):
        folder = name.encode()
        for entry in scan(tree, owners):
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
        for name, tree, _ in _sorted(roots):
            target = place / name
            target.mkdir()
            mounts.perform(mounts.Mount(kind="rbind", source=tree, target=target, read_only=True))
            seen.append(target)
        yield place
    finally:
        for target in seen:
            syscalls.umount(target, constants.MNT_DETACH)
        with suppress(OSError):  # what is left here is removed with the folder of this process
            for target in seen:
                target.rmdir()
            place.rmdir()
