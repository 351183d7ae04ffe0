"""The lint rules that need variables, platforms or images to decide; the text alone is ``dockerfile.lint``'s.

source   BuildKit, frontend/dockerfile/linter/ruleset.go (names and messages), dockerfile2llb/validations.go
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.dockerfile.instructions import Dockerfile, From
from builder.dockerfile.quoting import quoted
from builder.dockerfile.words import Expansion, examine, expand
from builder.errors import DockerfileError, ImageError
from builder.image.names import Platform, Reference
from builder.plan.findings import Findings
from builder.plan.nearest import nearest
from builder.plan.paths import clean_relative
from builder.plan.ports import Ports
from builder.plan.scope import Scope, platform_args, same_system, with_globals

if TYPE_CHECKING:
    from builder.plan.state import Job, StageState
    from builder.plan.steps import Options

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


def check_secret(job: Job, instruction: str, name: str) -> None:
    """SecretsUsedInArgOrEnv."""
    if _SECRET.search(name) and not _NO_SECRET.search(name):
        job.warn(
            "SecretsUsedInArgOrEnv",
            f"Do not use ARG or ENV instructions for sensitive data ({instruction} {quoted(name)})",
        )


def check_legacy(job: Job, *, legacy: bool) -> None:
    """LegacyKeyValueFormat."""
    if legacy:
        name = job.instruction.keyword
        message = f'"{name} key=value" should be used instead of legacy "{name} key value" format'
        job.warn("LegacyKeyValueFormat", message)


def check_shell_form(state: StageState, job: Job) -> None:
    """JSONArgsRecommended, unless a SHELL shows that shell form is meant."""
    if not state.config.shell:
        job.warn(
            "JSONArgsRecommended",
            f"JSON arguments recommended for {job.instruction.keyword} to prevent unintended behavior related to OS"
            " signals",
        )


def check_once(state: StageState, job: Job) -> None:
    """MultipleInstructionsDisallowed, at the one that has no effect."""
    name = job.instruction.name
    if name in state.last:
        job.warn(
            "MultipleInstructionsDisallowed",
            f"Multiple {job.instruction.keyword} instructions should not be used in the same stage because only the"
            " last one will be used",
            state.last[name],
        )


def check_ports(job: Job, text: str, found: Ports) -> None:
    """ExposeProtoCasing and ExposeInvalidFormat."""
    if found.protocol != found.protocol.lower():
        job.warn("ExposeProtoCasing", f"Defined protocol '{text}' in EXPOSE instruction should be lowercase")
    if found.host:
        job.warn(
            "ExposeInvalidFormat",
            f"EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'",
        )


def check_ignored(job: Job, source: str) -> None:
    """CopyIgnoredFile. With exceptions in the file it cannot be said without looking at the context.

    source   BuildKit, validations.go: validateCopySourcePath
    """
    ignore = job.options.ignore
    if ignore is None or ignore.has_exceptions:
        return
    path = clean_relative(source)
    if path in (".", "/"):
        ignored = any(pattern.text in ("*", "**", "**/*") for pattern in ignore.patterns)
    else:
        ignored = not path.startswith("/") and ignore.decide(path).ignored
    if ignored:
        what = job.instruction.name.capitalize()
        job.warn("CopyIgnoredFile", f"Attempting to {what} file {quoted(path)} that is excluded by .dockerignore")


def check_from(findings: Findings, origin: From, name: Expansion, scope: Scope) -> None:
    """UndefinedArgInFrom, RedundantTargetPlatform and FromPlatformFlagConstDisallowed."""
    _undefined_args(findings, origin, name, scope)
    if origin.platform is None or not origin.platform.text or not name.text:
        return
    platform = examine(origin.platform.text, scope.values, escape=scope.escape, where=origin.platform.span)
    _undefined_args(findings, origin, platform, scope)
    if platform.used == ("TARGETPLATFORM",) and not platform.unset:
        if platform.text == scope.values["TARGETPLATFORM"]:
            findings.warn(
                "RedundantTargetPlatform",
                f"Setting platform to predefined {origin.platform.text} in FROM is redundant as this is the default"
                " behavior",
                origin.span,
                origin.comment,
            )
    elif not platform.used and not platform.unset:
        _constant_platform(findings, origin, platform.text)


def _undefined_args(findings: Findings, origin: From, word: Expansion, scope: Scope) -> None:
    known = {**dict.fromkeys(sorted(scope.declared)), **dict.fromkeys(scope.values)}
    for name in word.unset:
        if name not in known:
            meant = nearest(name, known) if findings.may_guess() else ""
            guess = f" (did you mean {meant}?)" if meant else ""
            findings.warn(
                "UndefinedArgInFrom", f"FROM argument '{name}' is not declared{guess}", origin.span, origin.comment
            )


def _constant_platform(findings: Findings, origin: From, text: str) -> None:
    try:
        platform = Platform.parse(text)
    except ImageError:
        return  # the stage fails for it
    if platform.os not in origin.stage_name and platform.architecture not in origin.stage_name:
        findings.warn(
            "FromPlatformFlagConstDisallowed",
            f"FROM --platform flag should not use constant value {quoted(text)}",
            origin.span,
            origin.comment,
        )


def check_default_args(dockerfile: Dockerfile, options: Options, findings: Findings, target: str) -> None:
    """InvalidDefaultArgInFrom: whether the file can be built without any ``--build-arg``."""
    escape = dockerfile.directives.escape
    try:
        values = with_globals(dockerfile, platform_args(options, target), {})
        for text in dockerfile.stages:
            name = expand(text.origin.image.text, values, escape=escape)
            if not _may_be_image(name):
                findings.warn(
                    "InvalidDefaultArgInFrom",
                    f"Default value for ARG {text.origin.image.text} results in empty or invalid base image name",
                    text.origin.span,
                )
    except DockerfileError:
        return  # a variable that must be given; or the same mistake fails the compilation


def _may_be_image(name: str) -> bool:
    try:
        Reference.parse(name)
    except ImageError:
        return False
    return True


def check_base_platform(findings: Findings, origin: From, name: str, expected: Platform, actual: Platform) -> None:
    """InvalidBaseImagePlatform."""
    if not same_system(expected, actual):
        findings.warn(
            "InvalidBaseImagePlatform",
            f"Base image {name} was pulled with platform {quoted(str(actual))}, expected"
            f" {quoted(str(expected))} for current build",
            origin.span,
        )
