"""From the Dockerfile's instructions to a plan: the bases that the plan asks for are answered until none is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.errors import BuilderError, DockerfileError, Place
from builder.events import LintWarning, Note
from builder.image.names import Platform
from builder.plan.compile import compile_plan, mention, missing_bases
from builder.plan.scope import dated_by
from builder.plan.steps import Base, BaseKey, ContextInput, Datable, Options, Plan

if TYPE_CHECKING:
    from builder.engine.opening import Source
    from builder.engine.request import BuildRequest
    from builder.engine.world import World

MOST_ROUNDS = 32
"""How often a base may name further bases in its ONBUILD triggers; each round is one image deeper."""


def make_plan(source: Source, request: BuildRequest, platform: Platform, world: World) -> Plan:
    """The plan for one platform; its warnings go out as events."""
    options = options_for(source, request, platform, world)
    bases: dict[BaseKey, Base] = {}
    answer_bases(source, options, world, bases)
    plan = compile_plan(source.dockerfile, options, bases)
    if plan.warnings:
        # Most files are found in order.
        from builder.dockerfile.lint import documentation

        for found in plan.warnings:
            link = documentation(found.rule)
            world.emit(LintWarning(found.rule, found.message, link, found.where.describe(), found.where.line))
    if world.settings.rewrite and plan.source_date_epoch is None:
        # source: BuildKit, exporter/containerimage/writer.go, rewriteRemoteWithEpoch, which goes on, too
        world.emit(Note("warning", "rewrite-timestamp: there is no SOURCE_DATE_EPOCH, and times stay as they are"))
    return plan


def options_for(
    source: Source, request: BuildRequest, platform: Platform, world: World, *, all_stages: bool = False
) -> Options:
    """What *request* says to the planner, for one platform.

    all_stages   look at stages that the target does not need, too
    """
    options = Options(
        build_args=request.build_args,
        target=request.target,
        platform=platform,
        explicit_platform=bool(request.platforms),
        build_platform=source.machine,
        contexts=frozenset(request.contexts),
        labels=request.labels,
        network=request.network,
        source_date_epoch=world.settings.epoch,
        all_stages=all_stages,
        ignore=world.context("").ignore,
    )
    try:
        dated = dated_by(source.dockerfile, options)
    except DockerfileError:
        return options  # the compiler finds the same mistake, and says it with all others
    return options if dated is None else replace(options, moments={dated: _moment(dated, world)})


def _moment(source: Datable, world: World) -> int | None:
    if isinstance(source, ContextInput):
        return world.moment(source)
    return world.fetched(source).moment(world.store)


def answer_bases(source: Source, options: Options, world: World, bases: dict[BaseKey, Base]) -> None:
    """Put into *bases* what the plan wants to know.

    raises   DockerfileError if the file is wrong; ImageError or RegistryError, at its place in the file, if a base
             cannot be had
    """
    for _ in range(MOST_ROUNDS):
        missing = missing_bases(source.dockerfile, options, bases) - bases.keys()
        if not missing:
            return
        for key in sorted(missing, key=lambda key: (key.name, str(key.platform))):
            try:
                bases[key] = world.bases.answer(key)
            except BuilderError as error:
                _put_in_place(error, source, options, bases, key)
                raise


def _put_in_place(
    error: BuilderError, source: Source, options: Options, bases: dict[BaseKey, Base], key: BaseKey
) -> None:
    """Say where the base is named that cannot be had, and which stage may have been meant."""
    found = mention(source.dockerfile, options, bases, key)
    if found is None:
        return
    error.where = found.where if error.where is None else _Places(found.where, error.where)
    hints = [hint for hint in (found.hint, error.hint) if hint]
    error.hint = " ".join(hints) or None


@dataclass(frozen=True, slots=True)
class _Places:
    """A place in the Dockerfile, and what was asked for there."""

    first: Place
    second: Place

    def describe(self) -> str:
        """Both, one below the other."""
        return f"{self.first.describe()}\n{self.second.describe()}"
