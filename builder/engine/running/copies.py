"""Mounts where nothing can be mounted: what a command is to see is copied first, since it is moved into its root."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from builder.errors import HostError
from builder.sandbox.command import Extra
from builder.snapshot.copying import copy_tree


def own_copies(extras: Iterable[Extra], folder: Path) -> tuple[Extra, ...]:
    """*extras* with copies, below *folder*, of what others look at too; so what is written there reaches nobody.

    raises   HostError for what is to be written to and belongs to somebody else
    """
    found: list[Extra] = []
    for extra in extras:
        if extra.kind == "bind" and extra.source is not None and not extra.movable:
            if not extra.read_only:
                raise HostError(
                    f"{extra.source} cannot be mounted here, where there are no namespaces, so that nothing written to"
                    f" {extra.target} would be in it",
                    code="needs-namespace",
                    hint="mount it read-only (:ro), for the command sees a copy then; or write to stdout",
                )
            folder.mkdir(mode=0o700, exist_ok=True)
            place = folder / str(len(found))
            copy_tree(extra.source, place)
            extra = replace(extra, source=place, movable=True)
        found.append(extra)
    return tuple(found)
