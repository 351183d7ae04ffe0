"""WORKDIR: a folder of the root, made with all above it."""

from __future__ import annotations

import os
from pathlib import Path

from builder.engine.copying.owners import resolve_owner
from builder.engine.copying.placing import Tree
from builder.errors import BuilderError
from builder.plan.steps import WorkdirStep


def make_workdir(step: WorkdirStep, root: Path, *, fresh: bool = False) -> None:
    """Make ``step.path`` in *root*, links followed inside it; new folders are 0755 and ``step.user``'s.

    fresh    *root* is no more than an empty folder: there are no names to look the user up in
    raises   DockerfileError, code ``not-a-folder``, if something else is in the way
    source   BuildKit, frontend/dockerfile/dockerfile2llb/convert.go, dispatchWorkdir
    """
    owner = resolve_owner(step.user, None if fresh else root, step.where) if step.user else None
    with Tree(root, owner=owner, mode=None, link=False, where=step.where) as tree:
        path = tree.resolve(step.path)
        try:
            new = tree.make_folders(path, 0o755)
        except BuilderError as e:
            e.where = e.where or step.where
            raise
        if step.epoch is not None:
            for each in new:  # a folder after what is in it has been made
                os.utime(tree.enter(each), (step.epoch, step.epoch))
