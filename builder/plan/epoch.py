"""SOURCE_DATE_EPOCH: a number of seconds, or the name of a source that has a time.

A name is ``context``, a named context's, or that of a stage which fetches one file or one repository and does nothing
else. What time the source has is the world's to say: see ``steps.Options.moments``.

source   BuildKit, frontend/dockerfile/dockerfile2llb/epoch.go; docs/build-repro.md, "SOURCE_DATE_EPOCH"
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from builder.dockerfile.instructions import Add, Arg, Dockerfile, StageText, Word
from builder.dockerfile.words import expand
from builder.errors import DockerfileError, ImageError
from builder.image.names import Reference
from builder.plan.contexts import context_named
from builder.plan.findings import mistake
from builder.plan.remote import git_ref, git_tree, remote_file
from builder.plan.steps import ContextInput, Datable, GitTree, Options, RemoteFile

EPOCH = "SOURCE_DATE_EPOCH"

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def seconds(text: str) -> int | None:
    """The number that *text* is; None if it is none, or has more than 64 bits."""
    if _INTEGER.fullmatch(text) and -(1 << 63) <= int(text) < 1 << 63:
        return int(text)
    return None


def source_named(text: str, dockerfile: Dockerfile, values: Mapping[str, str], options: Options) -> Datable:
    """The source whose time SOURCE_DATE_EPOCH=*text* asks for.

    values   the global arguments
    raises   DockerfileError: ``invalid-epoch`` if nothing is called so, or the stage does more than to fetch
    """
    if text == "context":
        return ContextInput()
    if _may_be_a_name(text):
        context = context_named(options, text, options.build_platform)
        if context is not None:
            return ContextInput(name=context)
        for stage in dockerfile.stages:
            if stage.origin.stage_name == text:
                return _fetched_by(stage, dockerfile.directives.escape, values, options)
    raise DockerfileError(
        f"invalid {EPOCH}: {text}",
        code="invalid-epoch",
        hint="give it in seconds since 1970, or name a stage that fetches, a named context, or: context",
    )


def _may_be_a_name(text: str) -> bool:
    """Whether a context could be called so, as an image is, in small letters: BuildKit asks for one first."""
    try:
        Reference.parse(text)
    except ImageError:
        return False
    return True


def _fetched_by(stage: StageText, escape: str, values: Mapping[str, str], options: Options) -> RemoteFile | GitTree:
    """What a stage fetches that is empty but for one remote ADD."""
    env = {name: value for name, value in values.items() if name != EPOCH}
    image = stage.origin.image
    if expand(image.text, env, escape=escape, where=image.span) != "scratch":
        raise _unfit(stage, "stage must use FROM scratch")
    found: RemoteFile | GitTree | None = None
    for instruction in stage.instructions:
        if isinstance(instruction, Arg):
            _declare(instruction, env, escape, options)
        elif not isinstance(instruction, Add):
            raise _unfit(
                stage, f"stage does not meet source-only requirements: unsupported {instruction.keyword} instruction"
            )
        elif found is not None:
            raise _unfit(stage, "stage must contain exactly one remote ADD")
        else:
            found = _fetched(stage, instruction, env, escape)
    if found is None:
        raise _unfit(stage, "stage must contain exactly one remote ADD")
    return found


def _declare(arg: Arg, env: dict[str, str], escape: str, options: Options) -> None:
    for pair in arg.pairs:
        if pair.key.text in options.build_args:
            env[pair.key.text] = options.build_args[pair.key.text]
        elif pair.value is not None:
            env[pair.key.text] = expand(pair.value.text, env, escape=escape, where=pair.value.span)


def _fetched(stage: StageText, add: Add, env: Mapping[str, str], escape: str) -> RemoteFile | GitTree:
    if add.heredocs or len(add.sources) != 1:
        raise _unfit(stage, "stage must contain exactly one remote ADD source")

    def expanded(word: Word | None) -> str:
        return "" if word is None else expand(word.text, env, escape=escape, where=word.span)

    (word,) = add.sources
    url, checksum = expanded(word), expanded(add.checksum)
    ref = git_ref(url, word)
    if ref is not None:
        return git_tree(add, word, url, ref, checksum)
    if url.startswith(("http://", "https://")):
        return remote_file(add, url, checksum)
    raise _unfit(stage, "stage source must be a single HTTP(S) or Git ADD")


def _unfit(stage: StageText, why: str) -> DockerfileError:
    hint = "such a stage is FROM scratch, and one ADD of a URL or a git repository"
    return mistake(f"{EPOCH} {why}", stage.origin.span, "invalid-epoch", hint)
