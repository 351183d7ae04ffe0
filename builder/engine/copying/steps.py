"""COPY, ADD and WORKDIR, performed in the view of a draft."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.copying.copy import copy, is_independent
from builder.engine.copying.workdir import make_workdir
from builder.engine.sources.source import TreeRoot
from builder.events import Note
from builder.layer.noted import note
from builder.plan.steps import BindMount, CacheMount, CopyStep, GitTree, RemoteFile, ScratchInput, WorkdirStep

if TYPE_CHECKING:
    from builder.engine.position import Walk
    from builder.engine.workshop import Workshop
    from builder.snapshot.contract import Draft


def perform_copy(step: CopyStep, draft: Draft, workshop: Workshop, walk: Walk) -> bool:
    """Copy what the step names into *draft*; whether that is what was hashed."""
    world = workshop.world
    remote: tuple[RemoteFile | GitTree, ...] = (*step.remote, *step.git)
    with ExitStack() as stack:
        source = stack.enter_context(workshop.source(step.input, walk)) if step.sources else None
        # --link copies into nothing, and what is there below never matters (Dockerfile reference, "COPY --link").
        root = draft.tree if is_independent(step) else stack.enter_context(workshop.snapshotter.view(draft))
        copied = copy(
            step,
            source,
            root,
            fetched={item: world.fetched(item) for item in remote},
            scratch=draft.folder,
            fresh=draft.parent is None,
            note=lambda text: world.emit(Note("info", text, step.where.describe())),
        )
    note(draft.folder, draft.tree, copied.owners)
    for name in copied.changed:
        text = f"{name} changed while it was copied; the next build copies it again"
        world.emit(Note("warning", text, step.where.describe()))
    return not copied.changed


def perform_workdir(step: WorkdirStep, draft: Draft, workshop: Workshop) -> None:
    """Make the step's folder in *draft*, with its parents."""
    with workshop.snapshotter.view(draft) as root:
        make_workdir(step, root, fresh=draft.parent is None)


def copy_folder(source: Path, target: Path, mount: BindMount | CacheMount) -> None:
    """Copy what the folder *source* holds into the folder *target*, owners and all."""
    step = CopyStep(
        title="", where=mount.where, input=ScratchInput(), sources=(".",), target="/", target_is_folder=True
    )
    scratch = target.with_name(target.name + ".scratch")
    scratch.mkdir(exist_ok=True)
    copy(step, TreeRoot(source, noted={}), target, scratch=scratch)
    scratch.rmdir()
