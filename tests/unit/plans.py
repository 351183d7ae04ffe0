"""Plans of small Dockerfiles, with bases that exist in the test alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from builder.dockerfile.parse import parse
from builder.errors import DockerfileError
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig
from builder.image.names import Platform
from builder.plan.compile import compile_plan, missing_bases
from builder.plan.steps import Base, BaseKey, CopyStep, Options, Plan, RunStep, WorkdirStep

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def image(platform: Platform | None = None, history: tuple[str, ...] = ("base layer",), **config: Any) -> ImageConfig:
    """A base image's configuration."""
    return ImageConfig(
        platform=platform or AMD64,
        config=RunConfig(**({"env": (PATH,), "cmd": ("sh",)} | config)),
        history=tuple(HistoryEntry(created_by=text) for text in history),
        created="2001-09-09T01:46:40Z",
    )


def answer(key: BaseKey, images: Mapping[str, ImageConfig | None]) -> Base:
    """What the world of a test says; None stands for a folder."""
    found = images.get(key.name, image(key.platform))
    if found is None:
        return Base(key=key, config=ImageConfig(platform=key.platform), pinned=key.name, is_folder=True)
    return Base(key=key, config=found, pinned=f"{key.name}@sha256:{'0' * 64}")


def plan(text: str, images: Mapping[str, ImageConfig | None] | None = None, **options: Any) -> Plan:
    """The plan of a Dockerfile; what is asked for and not in *images* is an ordinary image."""
    dockerfile = parse(text.encode(), "Dockerfile")
    chosen = Options(**options)
    bases: dict[BaseKey, Base] = {}
    while missing := missing_bases(dockerfile, chosen, bases):
        bases.update({key: answer(key, images or {}) for key in missing})
    return compile_plan(dockerfile, chosen, bases)


def mistake(text: str, images: Mapping[str, ImageConfig | None] | None = None, **options: Any) -> DockerfileError:
    """The error that a Dockerfile makes."""
    with pytest.raises(DockerfileError) as caught:
        plan(text, images, **options)
    return caught.value


def history(made: Plan) -> list[str]:
    """What the target adds to its base's history, layers marked with an asterisk."""
    return [("" if entry.empty_layer else "*") + entry.created_by for entry in made.target.history]


def run_step(made: Plan, number: int = 0) -> RunStep:
    """One of the target's RUN steps."""
    return [step for step in made.target.steps if isinstance(step, RunStep)][number]


def copy_step(made: Plan, number: int = 0) -> CopyStep:
    """One of the target's COPY and ADD steps."""
    return [step for step in made.target.steps if isinstance(step, CopyStep)][number]


def workdir_step(made: Plan, number: int = 0) -> WorkdirStep:
    """One of the target's WORKDIR steps."""
    return [step for step in made.target.steps if isinstance(step, WorkdirStep)][number]


def rules(made: Plan) -> list[tuple[str, str, int]]:
    """The warnings: rule, message and line."""
    return [(warning.rule, warning.message, warning.where.line) for warning in made.warnings]
