"""What can be said about a build without building: ``--check``, ``--call outline``, ``--call targets``.

One platform is looked at, the first that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.engine.opening import Source, open_world
from builder.engine.planning import answer_bases, options_for
from builder.engine.request import BuildRequest
from builder.errors import BuilderError, DockerfileError
from builder.events import Emit, silent
from builder.plan import check as plan_check
from builder.plan import outline as plan_outline
from builder.plan.check import Checked
from builder.plan.outline import Outline, Target
from builder.plan.steps import Base, BaseKey
from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The Dockerfile that was looked at: its name as people know it, and what it says."""

    name: str
    text: bytes

    @classmethod
    def of(cls, source: Source) -> File:
        """The Dockerfile of *source*."""
        return cls(name=source.name, text=source.text)


def check(request: BuildRequest, emit: Emit = silent) -> tuple[File | None, Checked]:
    """What is wrong or odd about the Dockerfile, and the file, unless it cannot be read.

    Without a target all stages are looked at. Base images are asked for, as for a build.

    raises   BuilderError where there is no context
    """
    try:
        with Store.open(Path(request.root)) as store, open_world(request, store, emit) as (world, source):
            options = options_for(source, request, source.platforms[0], world, all_stages=not request.target)
            bases: dict[BaseKey, Base] = {}
            missing: BuilderError | None = None
            try:
                answer_bases(source, options, world, bases)
            except DockerfileError:
                pass  # the checker finds the same mistake, and more
            except BuilderError as error:
                missing = error
            return File.of(source), plan_check.check(source.dockerfile, options, bases, missing)
    except DockerfileError as error:
        return None, Checked(error=error)


def outline(request: BuildRequest, emit: Emit = silent) -> tuple[File, Outline]:
    """What the target can be given.

    raises   BuilderError, as a build does before its first step
    """
    with Store.open(Path(request.root)) as store, open_world(request, store, emit) as (world, source):
        options = options_for(source, request, source.platforms[0], world)
        bases: dict[BaseKey, Base] = {}
        answer_bases(source, options, world, bases)
        return File.of(source), plan_outline.outline(source.dockerfile, options, bases)


def targets(request: BuildRequest, emit: Emit = silent) -> tuple[File, tuple[Target, ...]]:
    """The stages that can be built; no base image is asked for.

    raises   BuilderError where there is no Dockerfile, or one that cannot be parsed
    """
    with Store.open(Path(request.root)) as store, open_world(request, store, emit) as (_, source):
        return File.of(source), plan_outline.targets(source.dockerfile)
