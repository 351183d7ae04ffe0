"""What happens behind the gate: the steps that were not found are performed, and what needs their trees is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from builder.engine.inputs import Inputs
from builder.engine.perform import Performer
from builder.engine.rootfs import write_roots
from builder.engine.solve import Solution, Solver
from builder.engine.workshop import Workshop
from builder.engine.world import Inside, World
from builder.events import Event, Note
from builder.sandbox.gate import Identity, call, identity
from builder.sandbox.runner import Runner
from builder.snapshot.choose import choose

if TYPE_CHECKING:
    from builder.engine.deliver import Needs
    from builder.engine.request import BuildRequest
    from builder.plan.steps import Plan


def perform_behind_the_gate(
    plans: list[Plan], wanted: Needs, request: BuildRequest, world: World, inputs: Inputs
) -> list[Solution]:
    """Perform what is needed for *plans*, one after the other, in a namespace of our own.

    wanted   root file systems among the outputs are written inside, where their owners can be told
    returns  where each plan's target ended; the layers that steps made are packed, and the bases' blobs in the store
    """
    who = identity(request.userns)
    return call(
        lambda send: _perform(plans, wanted, request, replace(world, emit=send), inputs, who),
        identity=who,
        on_message=lambda message: world.emit(cast(Event, message)),
    )


def _perform(
    plans: list[Plan], wanted: Needs, request: BuildRequest, world: World, inputs: Inputs, who: Identity
) -> list[Solution]:
    with Runner() as runner:
        world.bases.use(world.emit)
        snapshotter = choose(world.store.root, who.key, request.isolation)
        snapshotter.sweep()
        world.emit(Note("info", f"isolation: {snapshotter.name}, identities: {who.kind}"))
        mounts = world.store.root / "mounts" / who.key
        mounts.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside = Inside(snapshotter=snapshotter, runner=runner, key=who.key, mounts=mounts)
        solutions = []
        for plan in plans:
            workshop = Workshop(world, inside)
            performer = Performer(workshop, inputs)
            try:
                solution = Solver(plan, world, inputs, performer).solve()
                if wanted.roots:
                    with workshop.root(solution.target) as root:
                        write_roots(wanted.roots, root, plan.platform if len(plans) > 1 else None, world)
                if wanted.blobs:
                    performer.finish(solution.target)
            finally:
                performer.close()
            solutions.append(solution)
        # Not with each step: one call for all costs little, and a kill of this process loses nothing anyway.
        snapshotter.sync()
        return solutions
