"""What happens behind the gate: the steps that were not found are performed, and what needs their trees is written."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from builder.engine.behind import snapshotter_for
from builder.engine.inputs import Inputs
from builder.engine.outputs.rootfs import Root, write_roots
from builder.engine.perform import Performer
from builder.engine.running.foreign import as_somebody, emulation, foreign
from builder.engine.running.limiting import limited
from builder.engine.solve import Solution, Solver
from builder.engine.workshop import Workshop
from builder.engine.world import Inside, World
from builder.events import Event, Note
from builder.plan.steps import RunStep
from builder.sandbox.gate import Identity, call
from builder.sandbox.runner import Runner
from builder.snapshot.choose import fuse_lost, unfaithful

if TYPE_CHECKING:
    from builder.engine.outputs.deliver import Needs
    from builder.engine.request import BuildRequest
    from builder.image.names import Platform
    from builder.plan.steps import Plan
    from builder.sandbox.groups.delegated import Groups


def perform_behind_the_gate(
    plans: list[Plan], wanted: Needs, request: BuildRequest, world: World, inputs: Inputs
) -> list[Solution]:
    """Perform what is needed for *plans*, one after the other, in a namespace of our own.

    wanted   root file systems among the outputs are written inside, where their owners can be told
    returns  where each plan's target ended; the layers that steps made are packed, and the bases' blobs in the store
    """
    others = foreign(
        stage.platform
        for plan in plans
        for stage in plan.stages
        if any(isinstance(step, RunStep) for step in stage.steps)
    )

    def enter(who: Identity, groups: Groups | None) -> list[Solution]:
        return call(
            lambda send: _perform(plans, wanted, request, replace(world, emit=send), inputs, who, others, groups),
            identity=who,
            on_message=lambda message: world.emit(cast(Event, message)),
        )

    with limited(request.limits if _runs(plans) else None) as groups:
        return as_somebody(lambda who: enter(who, groups), request.userns, others, bare_too=True)


def _runs(plans: list[Plan]) -> bool:
    return any(isinstance(step, RunStep) for plan in plans for stage in plan.stages for step in stage.steps)


def _perform(
    plans: list[Plan],
    wanted: Needs,
    request: BuildRequest,
    world: World,
    inputs: Inputs,
    who: Identity,
    others: frozenset[Platform],
    groups: Groups | None,
) -> list[Solution]:
    # Temporary files of this process, unless they lie with the caller's, end with it.
    with Runner(jailed=who.kind == "chroot") as runner, closing(world.store.scratch):
        world.bases.use(world.emit)
        snapshotter = snapshotter_for(world.store.root, who, request.isolation)
        snapshotter.sweep()
        world.emit(Note("info", f"isolation: {snapshotter.name}, identities: {who.kind}"))
        if request.isolation == "fuse-overlayfs" and (lost := fuse_lost(world.store.root)):
            world.emit(Note("warning", f"with fuse-overlayfs as it is here, {unfaithful(lost)}"))
        mounts = world.store.root / "mounts" / who.key
        mounts.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside = Inside(
            snapshotter=snapshotter,
            runner=runner,
            key=who.key,
            mounts=mounts,
            jailed=who.kind == "chroot",
            emulation=emulation(runner, who, others, world.store.root, world.emit),
            groups=groups,
        )
        solutions = []
        workshop = Workshop(world, inside)
        for plan in plans:
            performer = Performer(workshop, world.settings.clamp(plan))
            try:
                solution = Solver(plan, world, inputs, performer).solve()
                if wanted.blobs:
                    performer.finish(solution.target)
            finally:
                performer.close()
            solutions.append(solution)
        if wanted.roots:
            with ExitStack() as stack:
                roots = [
                    Root(
                        platform=plan.platform,
                        tree=stack.enter_context(workshop.root(solution.target)),
                        owners=workshop.owners(solution.target),
                        moment=plan.source_date_epoch if plan.source_date_epoch != world.settings.newest else None,
                        clamp=world.settings.clamp(plan),
                    )
                    for plan, solution in zip(plans, solutions, strict=True)
                ]
                write_roots(wanted.roots, roots, world, apart=request.several)
        # Not with each step: one call for all costs little, and a kill of this process loses nothing anyway.
        snapshotter.sync()
        return solutions
