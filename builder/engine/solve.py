"""Walking the plan: each step is found in the cache, or performed.

Outside of any namespace the walk only looks up, and ends at the first miss; behind the gate it performs what it misses.
A stage begins with its root's snapshot, and each step turns a snapshot into the next one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from builder.engine.cache import Cache, Key
from builder.engine.copying.shown import followed, mount_step
from builder.engine.inputs import Inputs
from builder.engine.outputs.packed import find_packed
from builder.engine.position import EMPTY, Position
from builder.errors import BuilderError, ContextError
from builder.events import Event, StepCached, StepFailed, StepFinished, StepStarted
from builder.plan.cachekey import step_digest
from builder.plan.steps import (
    AnyStep,
    BindMount,
    CacheMount,
    ContextInput,
    ImageInput,
    Plan,
    Root,
    ScratchInput,
    Stage,
    StageInput,
)
from builder.plan.uses import inputs_of, used_once

if TYPE_CHECKING:
    from builder.engine.perform import Performed, Performer
    from builder.engine.world import World


@dataclass(frozen=True, slots=True)
class Solution:
    """Where the wanted stage ended, and how many steps were found in the cache."""

    target: Position
    cached: int


class _End:
    """Where a stage ended, once it has: what the stages that take from it wait for."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._position: Position | None = None

    def reached(self, position: Position | None) -> None:
        """The stage ended there; None: nowhere, and whoever waits is stopped."""
        self._position = position
        self._done.set()

    @property
    def is_reached(self) -> bool:
        """Whether nobody has to wait."""
        return self._done.is_set()

    def result(self) -> Position:
        """Waits for it. Stopped if there is none."""
        self._done.wait()
        if self._position is None:
            raise Stopped
        return self._position


class Missed(Exception):
    """A step must be performed: raised by ``look_up`` to leave the walk."""


class Solver:
    """One walk over one plan.

    performer   None: nothing may be executed, and the first miss ends the walk with ``Missed``
    """

    def __init__(self, plan: Plan, world: World, inputs: Inputs, performer: Performer | None = None) -> None:
        self._plan = plan
        self._world = world
        self._inputs = inputs
        self._cache = Cache(world.store, performer.workshop.holds if performer else None)
        self._performer = performer
        self._ends = [_End() for _ in plan.stages]
        self._cached = 0
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._wanted = _wanted(plan)
        self._once = used_once(plan)
        self._moving: set[str] = set()  # identities of inputs that were not, when they were taken, what was hashed

    def solve(self) -> Solution:
        """Walk all stages, those that need not wait for each other at once.

        raises   Missed when a step must be performed and may not; otherwise what the first failing step raised
        """
        if self._performer is None or len(self._plan.stages) == 1:
            for index in range(len(self._plan.stages)):
                self._ends[index].reached(self._walk(self._plan.stages[index]))
        else:
            self._solve_at_once()
        return Solution(self._ends[-1].result(), self._cached)

    def _solve_at_once(self) -> None:
        from concurrent.futures import ThreadPoolExecutor  # brings logging along, and a cached build walks in order

        # A stage stands after those it takes from, and workers take stages in that order: whoever waits for another
        # stage waits for one that is already being walked, so there is no deadlock with any number of workers.
        with ThreadPoolExecutor(self._world.settings.jobs, thread_name_prefix="stage") as pool:
            try:
                for walk in [pool.submit(self._end, index) for index in range(len(self._plan.stages))]:
                    walk.result()
            except BaseException as error:  # an interrupt, if it is none of the stages'
                self._fail(error)
        if self._failure is not None:
            raise self._failure

    def _end(self, index: int) -> None:
        try:
            self._ends[index].reached(self._walk(self._plan.stages[index]))
        except BaseException as error:  # whatever ends a stage ends the build, or others would wait for it for ever
            self._fail(error)
            self._ends[index].reached(None)

    def _fail(self, error: BaseException) -> bool:
        """Stop everything, since *error* happened; whether it was the first. What fails later failed by that."""
        with self._lock:
            if self._failure is not None:
                return self._failure is error
            self._failure = error
        self._stop.set()
        if self._performer is not None:
            self._performer.cancel()
        return True

    def _walk(self, stage: Stage) -> Position:
        position = self.position_of(stage.root)
        for step in stage.steps:
            if self._stop.is_set():
                raise Stopped
            position = position.then(self._take(stage, step, position))
        if self._performer is not None:
            self._performer.pack_last(position)
        return position

    def position_of(self, root: Root) -> Position:
        """Where *root* stands; waits for a stage that is still being walked."""
        match root:
            case ScratchInput():
                return EMPTY
            case StageInput(index=index):
                return self._ends[index].result()
            case ImageInput(base=base):
                return Position(base, self._world.bases.snapshots(base))
            case _:
                assert_never(root)

    def _may_begin(self, step: AnyStep) -> bool:
        """Whether all stages that *step* takes from have ended."""
        return all(self._ends[of.index].is_reached for of in inputs_of(step) if isinstance(of, StageInput))

    def brought(self, mount: BindMount | CacheMount) -> Position:
        """A root with what *mount* shows of a context, at the same place; kept, for the next command and build."""
        assert self._performer is not None
        assert isinstance(mount.input, ContextInput)
        step = followed(mount_step(mount), self._world.context(mount.input.name).root)
        digest, parts = step_digest(step, platform=self._plan.platform)
        key = Key(step=digest, parts=parts, inputs=("root:", *self._inputs.identities(step, self)))
        snapshot = self._cache.find(key)
        if snapshot is None:
            done = self._performer.perform(
                step,
                EMPTY,
                self,
                platform=self._plan.platform,
                content=key.content,
                wanted=False,
                last_use=False,
            )
            snapshot = self._recorded(key, done)
        return EMPTY.then(snapshot)

    def _take(self, stage: Stage, step: AnyStep, position: Position) -> str:
        """The snapshot after *step*."""
        around = self._world.settings.around(step)
        digest, parts = step_digest(step, platform=stage.platform, around=around)
        if self._performer is not None and not self._may_begin(step):
            self._performer.pack_last(position)
        key = Key(step=digest, parts=parts, inputs=(self._inputs.root(position), *self._inputs.identities(step, self)))
        if not self._world.settings.no_cache(stage.name):
            found = self._cache.find(key)
            if found is None and self._performer is not None:
                found = self._cache.find_equal(key, partial(self._inputs.same, workshop=self._performer.workshop))
            if found is not None:
                with self._lock:
                    self._cached += 1
                self._world.emit(StepCached(step.number, stage.name, step.title, step.where.line))
                return found
        if self._performer is None:
            raise Missed
        return self._perform(stage, step, position, key, self._performer)

    def _perform(self, stage: Stage, step: AnyStep, position: Position, key: Key, performer: Performer) -> str:
        emit = self._world.emit
        emit(StepStarted(step.number, stage.name, step.title, step.where.line))
        began = time.monotonic()
        try:
            done = performer.perform(
                step,
                position,
                self,
                platform=stage.platform,
                content=key.content,
                wanted=any(stage is one for one in self._wanted),
                last_use=step is not stage.steps[0] or stage.root in self._once,
            )
        except BuilderError as error:
            error.where = error.where or step.where
            if self._fail(error):
                emit(StepFailed(step.number, time.monotonic() - began))
            raise
        snapshot = self._recorded(key, done)
        emit(StepFinished(step.number, time.monotonic() - began))
        return snapshot

    def _recorded(self, key: Key, done: Performed) -> str:
        """The snapshot that was made, recorded unless files changed under the build's hands.

        A command's mounts are copied before it runs: what it made of files that changed is not recorded either.
        """
        if not done.as_keyed:
            self._moving.update(key.inputs[1:])
        if self._moving.isdisjoint(key.inputs[1:]):
            self._cache.record(key, done.snapshot)
        return done.snapshot


def _wanted(plan: Plan) -> tuple[Stage, ...]:
    """The stages whose layers are part of the image: the target, and what it stands on."""
    stages = [plan.target]
    while isinstance(root := stages[-1].root, StageInput):
        stages.append(plan.stages[root.index])
    return tuple(stages)


class Stopped(Exception):
    """Another stage failed, and this one was left."""


def look_up(plans: list[Plan], world: World, inputs: Inputs, *, packed: bool) -> list[Solution]:
    """Where each plan's target ends, if everything is in the cache; executes nothing and enters no namespace.

    packed   whether the layers must be in the store as blobs
    raises   Missed; no event was emitted then
    """
    events: list[Event] = []
    silent = replace(world, emit=events.append)
    try:
        solutions = [Solver(plan, silent, inputs).solve() for plan in plans]
    except ContextError as error:
        # A file of mode 0 is closed to its owner, but not to the root of a namespace that the owner is mapped in.
        if error.code == "unreadable-source":
            raise Missed from None
        raise
    if packed:
        for plan, solution in zip(plans, solutions, strict=True):
            _must_be_packed(solution.target, world, world.settings.clamp(plan))
            # Of a base only the blobs are wanted: they are fetched as they are, nothing is unpacked.
            if solution.target.base is not None:
                world.bases.fetch(solution.target.base)
    for event in events:
        world.emit(event)
    return solutions


def _must_be_packed(position: Position, world: World, clamp: int | None) -> None:
    if not all(find_packed(world.store, snapshot, clamp) for snapshot in position.made):
        raise Missed
