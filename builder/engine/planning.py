"""From the Dockerfile's instructions to a plan: the bases that the plan asks for are answered until none is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.events import Note
from builder.image.names import Platform
from builder.plan.compile import compile_plan, missing_bases
from builder.plan.steps import Base, BaseKey, Options, Plan

if TYPE_CHECKING:
    from builder.engine.opening import Source
    from builder.engine.request import BuildRequest
    from builder.engine.world import World

MOST_ROUNDS = 32
"""How often a base may name further bases in its ONBUILD triggers; each round is one image deeper."""


def make_plan(source: Source, request: BuildRequest, platform: Platform, world: World) -> Plan:
    """The plan for one platform; its warnings go out as events."""
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
    )
    bases: dict[BaseKey, Base] = {}
    for _ in range(MOST_ROUNDS):
        missing = missing_bases(source.dockerfile, options, bases) - bases.keys()
        if not missing:
            break
        for key in sorted(missing, key=lambda key: (key.name, str(key.platform))):
            bases[key] = world.bases.answer(key)
    plan = compile_plan(source.dockerfile, options, bases)
    for warning in plan.warnings:
        world.emit(Note("warning", f"{warning.rule}: {warning.message}", warning.where.describe()))
    return plan
