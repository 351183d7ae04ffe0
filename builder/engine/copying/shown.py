"""What ``RUN --mount`` shows of a root, as the copy that would bring it to the same place: it is hashed as a copy is.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_runmount.go; fsutil, FollowLinks: of a context the links
         on the way to what is shown are sent along with it
"""

from __future__ import annotations

from dataclasses import replace

from builder.engine.sources.source import SourceRoot, TooManyLinks, resolve
from builder.plan.steps import BindMount, CacheMount, CopyStep


def mount_step(mount: BindMount | CacheMount) -> CopyStep:
    """The copy of what *mount* shows, links on the way to it not yet followed."""
    assert mount.input is not None
    source = mount.source.strip("/")
    return CopyStep(
        title="",
        where=mount.where,
        input=mount.input,
        sources=(source or ".",),
        target="/",
        target_is_folder=True,
        parents=bool(source),
    )


def followed(step: CopyStep, root: SourceRoot) -> CopyStep:
    """*step*, which ``mount_step`` made, with the links that lead to what is shown in *root*, and where they lead.

    Where they lead nowhere the step is as it was, and fails as one whose source is missing.
    """
    (source,) = step.sources
    links: list[str] = []
    try:
        real = resolve(root, source, passed=links)
    except TooManyLinks:
        return step
    if not links or root.lstat(real) is None:
        return step
    return replace(step, sources=(*dict.fromkeys(links), real or "."))
