"""What happens behind the gate: the steps that were not found are performed, and what needs their trees is written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from builder.engine.inputs import Inputs
from builder.engine.opening import machine_platform
from builder.engine.perform import Performer
from builder.engine.rootfs import write_roots
from builder.engine.solve import Solution, Solver
from builder.engine.workshop import Workshop
from builder.engine.world import Inside, World
from builder.errors import HostError
from builder.events import Event, Note
from builder.plan.steps import RunStep
from builder.sandbox.gate import Identity, call, identity
from builder.sandbox.refusals import NO_USER_NAMESPACE
from builder.sandbox.runner import Runner
from builder.snapshot.choose import choose

if TYPE_CHECKING:
    from builder.engine.deliver import Needs
    from builder.engine.request import BuildRequest
    from builder.image.names import Platform
    from builder.plan.steps import Plan
    from builder.sandbox.emulation import Emulation


def perform_behind_the_gate(
    plans: list[Plan], wanted: Needs, request: BuildRequest, world: World, inputs: Inputs
) -> list[Solution]:
    """Perform what is needed for *plans*, one after the other, in a namespace of our own.

    wanted   root file systems among the outputs are written inside, where their owners can be told
    returns  where each plan's target ended; the layers that steps made are packed, and the bases' blobs in the store
    """
    foreign = _foreign_commands(plans)

    def enter(who: Identity) -> list[Solution]:
        return call(
            lambda send: _perform(plans, wanted, request, replace(world, emit=send), inputs, who, foreign),
            identity=who,
            on_message=lambda message: world.emit(cast(Event, message)),
        )

    plain, who = identity(request.userns), identity(request.userns, fresh=bool(foreign))
    try:
        return enter(who)
    except HostError as error:
        # Root can do without a user namespace, and then has the host's emulators, if there are any.
        if plain == who or error.code not in NO_USER_NAMESPACE:
            raise
        return enter(plain)


def _foreign_commands(plans: list[Plan]) -> frozenset[Platform]:
    """The platforms other than this machine's that commands are to be run for."""
    here = machine_platform().architecture
    return frozenset(
        stage.platform
        for plan in plans
        for stage in plan.stages
        if any(isinstance(step, RunStep) for step in stage.steps) and stage.platform.architecture != here
    )


def _perform(
    plans: list[Plan],
    wanted: Needs,
    request: BuildRequest,
    world: World,
    inputs: Inputs,
    who: Identity,
    foreign: frozenset[Platform],
) -> list[Solution]:
    # Temporary files of this process, unless they lie with the caller's, end with it.
    with Runner() as runner, closing(world.store.scratch):
        world.bases.use(world.emit)
        snapshotter = choose(world.store.root, who.key, request.isolation)
        snapshotter.sweep()
        world.emit(Note("info", f"isolation: {snapshotter.name}, identities: {who.kind}"))
        mounts = world.store.root / "mounts" / who.key
        mounts.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside = Inside(
            snapshotter=snapshotter,
            runner=runner,
            key=who.key,
            mounts=mounts,
            emulation=_emulation(runner, who, foreign, world) if foreign else None,
        )
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


def _emulation(runner: Runner, who: Identity, foreign: frozenset[Platform], world: World) -> Emulation:
    # Only builds for other platforms need it.
    from builder.sandbox.emulation import Emulation

    return Emulation(runner, who, foreign, world.store.root / "emulation", lambda text: world.emit(Note("info", text)))
