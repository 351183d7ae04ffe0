"""Outputs that are a root file system, written where its owners can be told: behind the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.request import Output
from builder.events import Exported, Note
from builder.export.rootfs import write_folder, write_tar
from builder.layer.scan import scan

if TYPE_CHECKING:
    from builder.engine.world import World
    from builder.image.names import Platform


def write_roots(outputs: Sequence[Output], tree: Path, platform: Platform | None, world: World) -> None:
    """Write the root at *tree* to each of *outputs*.

    platform  of this root where several are built: each gets a folder or a file name of its own, as buildx gives them
    """
    for output in outputs:
        dest = _placed(output, platform)
        clamp = world.settings.clamp
        if output.kind == "local":
            size = write_folder(
                scan(tree), tree, dest, note=lambda text: world.emit(Note("warning", text)), clamp=clamp
            )
        else:
            size = write_tar(scan(tree), tree, dest, clamp=clamp)
        world.emit(Exported(output.kind, dest, size, (), ""))


def _placed(output: Output, platform: Platform | None) -> str:
    if platform is None or output.dest == "-":
        return output.dest
    suffix = str(platform).replace("/", "_")
    path = Path(output.dest)
    return str(path / suffix if output.kind == "local" else path.with_name(f"{path.stem}_{suffix}{path.suffix}"))
