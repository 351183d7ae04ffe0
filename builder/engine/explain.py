"""Step by step: would a build find it in the cache, and if not, what changed since the step was last performed.

Nothing is executed, and nothing is remembered. Where a step would have to be performed, the walk goes on as if it gave
what it gave last time: what it gives decides whether the steps after it are found again, and that can't be told before.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from builder.engine.cache import Cache, Key
from builder.engine.copying.select import below, matches, sources
from builder.engine.inputs import Inputs
from builder.engine.opening import open_world
from builder.engine.planning import make_plan
from builder.engine.position import EMPTY, Position
from builder.engine.request import BuildRequest
from builder.engine.sources.source import join
from builder.engine.world import World
from builder.errors import InternalError
from builder.events import Emit, silent
from builder.plan.cachekey import step_digest
from builder.plan.difference import differences
from builder.plan.steps import (
    AnyStep,
    BindMount,
    CacheMount,
    ContextInput,
    CopyStep,
    ImageInput,
    Input,
    Plan,
    Root,
    RunStep,
    ScratchInput,
    Stage,
    StageInput,
)
from builder.store.store import Store

MOST_FILES = 10
"""How many changed files are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One step of a plan.

    verdict   ``cached``; ``changed`` since it was last performed; ``new``: it never was; ``after``: it is found again
              if the steps before it give what they gave last time; ``forced`` by --no-cache
    reasons   what changed, a line each
    """

    number: int
    stage: str
    title: str
    line: int
    verdict: str
    reasons: tuple[str, ...] = ()


def explain(request: BuildRequest, emit: Emit = silent) -> tuple[Explained, ...]:
    """What a build of *request* would find, and why not the rest. Of several platforms, the first.

    raises   BuilderError, as the build would before its first step
    """
    with (
        Store.open(Path(request.root)) as store,
        open_world(request, store, emit, remember=False) as (world, source),
    ):
        plan = make_plan(source, request, source.platforms[0], world)
        return tuple(_Explainer(plan, world).walk())


class _Unknown(Exception):
    """Where a stage stands can't be told: a step that was never performed is below it. Holds that step's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Explainer:
    """One walk over one plan."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._inputs = Inputs(world)
        self._cache = Cache(world.store)
        self._ends: list[Position | _Unknown] = []
        self._assumed: list[int | None] = []
        """For each stage the number of the first step that would be performed, in it or below it."""

    def walk(self) -> Iterator[Explained]:
        for stage in self._plan.stages:
            yield from self._stage(stage)

    def position_of(self, root: Root) -> Position:
        """Where *root* stands, as far as that is known."""
        match root:
            case ScratchInput():
                return EMPTY
            case StageInput(index=index):
                end = self._ends[index]
                if isinstance(end, _Unknown):
                    raise end
                return end
            case ImageInput(base=base):
                return Position(base, self._world.bases.snapshots(base))
            case _:
                assert_never(root)

    def brought(self, mount: BindMount | CacheMount) -> Position:
        """See ``Walk``: only who performs a command asks for it, and here nobody does."""
        raise InternalError("a mount was asked for where nothing is performed", code="mount-without-command")

    def _stage(self, stage: Stage) -> Iterator[Explained]:
        assumed = self._assumed[stage.root.index] if isinstance(stage.root, StageInput) else None
        position: Position | _Unknown
        try:
            position = self.position_of(stage.root)
        except _Unknown as unknown:
            position = unknown
        for step in stage.steps:
            before = min(filter(None, (assumed, *self._before(step))), default=None)
            try:
                if isinstance(position, _Unknown):
                    raise position
                verdict, reasons, snapshot = self._step(stage, step, position, before)
                position = position.then(snapshot) if snapshot else _Unknown(step.number)
            except _Unknown as unknown:
                verdict, reasons = "new", (f"step {unknown.number} was never performed, and this one needs it",)
                position = unknown
            if verdict not in ("cached", "after"):
                assumed = min(assumed or step.number, step.number)
            elif before:
                assumed = before
            yield Explained(
                number=step.number,
                stage=stage.name,
                title=step.title,
                line=step.where.line,
                verdict=verdict,
                reasons=reasons,
            )
        self._ends.append(position)
        self._assumed.append(assumed)

    def _before(self, step: AnyStep) -> Iterator[int | None]:
        """For each stage that *step* takes from, the first step there that would be performed."""
        for taken in _taken(step):
            if isinstance(taken, StageInput):
                yield self._assumed[taken.index]

    def _step(
        self, stage: Stage, step: AnyStep, position: Position, before: int | None
    ) -> tuple[str, tuple[str, ...], str]:
        """Verdict, reasons, and the snapshot that it gave last ("": none)."""
        changed = list(self._changed_files(step))
        around = self._world.settings.around(step)
        digest, parts = step_digest(step, platform=stage.platform, around=around)
        inputs = (self._inputs.root(position), *self._inputs.identities(step, self))
        key = Key(step=digest, parts=parts, inputs=inputs)
        found = self._cache.find(key)
        if found and self._world.settings.no_cache(stage.name):
            return "forced", ("--no-cache asks for it",), found
        if found and before:
            return "after", (f"found again if step {before} gives what it gave last time",), found
        if found:
            return "cached", (), found
        last: Mapping[str, Any] | None = next(
            (record for _, record in self._world.store.records.siblings(digest)), None
        )
        if last is not None:
            return "changed", tuple(_inputs_changed(last, key, changed)), str(last.get("snapshot", ""))
        last = self._nearest(key)
        if last is not None:
            return "changed", differences(_parts(last), parts), str(last.get("snapshot", ""))
        return "new", ("it was never performed on what is here before it",), ""

    def _nearest(self, key: Key) -> Mapping[str, Any] | None:
        """The record of another instruction of the same kind, performed at the same place: the most like it."""
        best, likeness = None, (0, 0.0)
        for record in self._world.store.records:
            inputs = record.value.get("inputs")
            parts = _parts(record.value)
            if not isinstance(inputs, list) or inputs[:1] != list(key.inputs[:1]):
                continue
            if parts.get("kind") != key.parts["kind"]:
                continue
            same = sum(parts.get(name) == value for name, value in key.parts.items())
            if (same, record.used) > likeness:
                best, likeness = record.value, (same, record.used)
        return best

    def _changed_files(self, step: AnyStep) -> Iterator[str]:
        """The files of a context that *step* takes and that aren't as the last build saw them."""
        if not isinstance(step, CopyStep) or not isinstance(step.input, ContextInput):
            return
        root = self._world.context(step.input.name).root
        for source in sources(step):
            for match in matches(root, source, step.where):
                if not match.is_folder:
                    if stat.S_ISREG(match.status.st_mode) and root.hashes.find(match.status) is None:
                        yield match.path
                    continue
                for picked in below(root, match, source, step.where):
                    if stat.S_ISREG(picked.status.st_mode) and root.hashes.find(picked.status) is None:
                        yield join(picked.folder, picked.name)


def _taken(step: AnyStep) -> Iterator[Input | None]:
    """What *step* takes from, beside its root."""
    if isinstance(step, CopyStep):
        yield step.input
    elif isinstance(step, RunStep):
        yield from (mount.input for mount in step.mounts if isinstance(mount, BindMount | CacheMount))


def _parts(record: Mapping[str, Any]) -> dict[str, Any]:
    parts = record.get("parts")
    return parts if isinstance(parts, dict) else {}


def _inputs_changed(last: Mapping[str, Any], key: Key, files: list[str]) -> Iterator[str]:
    """In what the inputs differ from those that the same instruction was performed on last."""
    old = last.get("inputs")
    if not isinstance(old, list) or len(old) != len(key.inputs):
        yield "it takes other things than before"
        return
    for before, now in zip(map(str, old), key.inputs, strict=True):
        if before == now:
            continue
        match now.partition(":")[0]:
            case "root":
                yield "what it stands on is another: its base image, or what a step before it made"
            case "files":
                yield (
                    f"files of the context changed: {_named(files)}"
                    if files
                    else ("files of the context were removed, renamed or are new links or folders")
                )
            case "part":
                yield "what it takes from another stage or image is another"
            case _:
                yield "what it downloads is another"


def _named(files: list[str]) -> str:
    more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
    return ", ".join(files[:MOST_FILES]) + more
