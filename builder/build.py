"""The whole build on one page; the public function.

text → instructions → plan → steps → snapshots → layers → image → export
"""

from __future__ import annotations

import time
from pathlib import Path

from builder.engine.inputs import Inputs
from builder.engine.opening import open_world
from builder.engine.outputs.deliver import deliver, needs
from builder.engine.planning import make_plan
from builder.engine.request import BuildRequest, Built, Output, Secret, SshAgent
from builder.engine.solve import Missed, Solution, look_up
from builder.engine.world import World
from builder.events import BuildFinished, Emit, PlanReady, silent
from builder.plan.steps import Plan
from builder.store.store import Store

__all__ = ["BuildRequest", "Built", "Output", "Secret", "SshAgent", "build"]


def build(request: BuildRequest, emit: Emit = silent) -> Built | None:
    """Build an image as *request* says; events go to *emit*. None where no output is an image.

    raises   BuilderError; what was begun is undone, and no output lies under its final name
    """
    began = time.monotonic()
    with Store.open(Path(request.root)) as store, open_world(request, store, emit) as (world, source):
        plans = [make_plan(source, request, platform, world) for platform in source.platforms]
        emit(PlanReady(sum(plan.total for plan in plans)))
        solutions = _solve(plans, request, world)
        built = deliver(plans, solutions, request, world)
    cached = sum(solution.cached for solution in solutions)
    emit(BuildFinished(time.monotonic() - began, cached, sum(plan.total for plan in plans)))
    return built


def _solve(plans: list[Plan], request: BuildRequest, world: World) -> list[Solution]:
    """Where each plan's target ends: from the cache alone if that is enough, else performed behind the gate."""
    wanted = needs(request.outputs)
    inputs = Inputs(world)
    if not wanted.roots:
        try:
            return look_up(plans, world, inputs, packed=wanted.blobs)
        except Missed:
            pass
    # Imported only here: a build that finds everything in the cache needs neither sandbox nor snapshots.
    from builder.engine.inside import perform_behind_the_gate

    return perform_behind_the_gate(plans, wanted, request, world, inputs)
