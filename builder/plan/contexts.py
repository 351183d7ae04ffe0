"""Named build contexts: which one a name means."""

from __future__ import annotations

from builder.errors import ImageError
from builder.image.names import Platform, Reference
from builder.plan.steps import Options


def context_named(options: Options, name: str, platform: Platform) -> str | None:
    """The named context that stands for *name* on *platform*, if there is one: ``NAME::PLATFORM`` before ``NAME``.

    source   BuildKit, frontend/dockerui/config.go, NamedContext: the familiar name, without ``:latest``
    """
    if not options.contexts or name.lower() in ("scratch", "context"):
        return None
    try:
        familiar = Reference.parse(name).familiar.removesuffix(":latest")
    except ImageError:
        familiar = name
    wanted = (f"{familiar}::{platform}", name, familiar)
    return next((known for known in wanted if known in options.contexts), None)
