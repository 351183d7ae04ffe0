"""Who takes from whom in a plan."""

from __future__ import annotations

from collections import Counter

from builder.plan.steps import AnyStep, BindMount, CacheMount, CopyStep, Input, Plan, Root, RunStep, StageInput


def inputs_of(step: AnyStep) -> tuple[Input, ...]:
    """What *step* takes from, besides its own root."""
    match step:
        case CopyStep():
            return (step.input,)
        case RunStep():
            mounts = (mount for mount in step.mounts if isinstance(mount, BindMount | CacheMount))
            return tuple(mount.input for mount in mounts if mount.input is not None)
        case _:
            return ()


def used_once(plan: Plan) -> frozenset[Root]:
    """The stages whose result is wanted once in *plan*; as its image, or as what another begins with or takes from."""
    ends: list[int] = []  # of each stage, the one whose steps made its root
    for index, stage in enumerate(plan.stages):
        ends.append(ends[stage.root.index] if not stage.steps and isinstance(stage.root, StageInput) else index)
    uses: Counter[int] = Counter([ends[-1]])  # the image itself
    for stage in plan.stages:
        roots: tuple[Root | Input, ...] = (stage.root,) if stage.steps else ()
        taken = (*roots, *(of for step in stage.steps for of in inputs_of(step)))
        uses.update(ends[of.index] for of in taken if isinstance(of, StageInput))
    return frozenset(StageInput(index=index) for index, end in enumerate(ends) if uses[end] == 1)
