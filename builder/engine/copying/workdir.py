"""WORKDIR: a folder of the root, made with all above it."""

from __future__ import annotations

import os
from pathlib import Path

from builder.engine.copying.owners import resolve_owner
from builder.engine.copying.placing import Tree
from builder.errors import BuilderError
from builder.plan.steps import WorkdirStep


def make_workdir(step: WorkdirStep, root: Path, *, fresh: bool = False, epoch: int | None = None) -> None:
    """Make ``step.path`` in *root*, links followed inside it; new folders are 0755 and ``step.user``'s.

    fresh    *root* is no more than an empty folder: there are no names to look the user up in
    epoch    SOURCE_DATE_EPOCH: the time of new folders, seconds
    raises   DockerfileError, code ``not-a-folder``, if something else is in the way
    source   BuildKit, frontend/dockerfile/dockerfile2llb/convert.go, dispatchWorkdir
    """
    owner = resolve_owner(step.user, None if fresh else root, step.where) if step.user else None
    with Tree(root, owner=owner, mode=None, link=False, where=step.where) as tree:
        path = tree.resolve(step.path)
        parts = path.split("/") if path else []
        paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        new = [each for each in paths if tree.status(each) is None]
        try:
            tree.make_folders(path, 0o755)
        except BuilderError as e:
            e.where = e.where or step.where
            raise
        if epoch is not None:
            for each in reversed(new):
                os.utime(tree.enter(each), (epoch, epoch))
