"""``--change``: instructions that change how an image is run, applied to a configuration.

source   docker commit and docker import references, "--change"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from builder.dockerfile.parse import parse
from builder.errors import UsageError
from builder.image.configuration import ImageConfig
from builder.plan.compile import compile_plan, missing_bases
from builder.plan.steps import Base, Options

ALLOWED = (
    *("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER"),
    *("VOLUME", "WORKDIR"),
)


def changed(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """*config* with *changes*, each the text of one instruction; its history stays as it was.

    raises   UsageError for another instruction, DockerfileError for a wrong one
    """
    if not changes:
        return config
    for text in changes:
        word = text.strip().partition(" ")[0].upper()
        if word not in ALLOWED:
            raise UsageError(
                f"--change {text!r}: {word or 'nothing'} is not an instruction that can change an image",
                code="invalid-value",
                hint="one of " + ", ".join(ALLOWED),
            )
    # What the image wants to happen in builds upon it does not happen here.
    triggers = config.config.on_build
    dockerfile = parse("\n".join(("FROM image", *changes)).encode(), "--change")
    options = Options(platform=config.platform, build_platform=config.platform)
    quiet = config.with_config(on_build=())
    bases = {key: Base(key=key, config=quiet, pinned="") for key in missing_bases(dockerfile, options, {})}
    made = compile_plan(dockerfile, options, bases).target.config.config
    return replace(config, config=replace(made, on_build=(*triggers, *made.on_build)))
