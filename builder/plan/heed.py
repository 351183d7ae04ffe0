"""Which findings are reported: ``# check=…`` at the top of the file, above an instruction, or as a build argument.

source   BuildKit, frontend/dockerfile/linter/linter.go: Run, WithMergedConfigFromComments, Error; dockerui/config.go
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.lint import EXPERIMENTAL, lint
from builder.dockerfile.lint_options import CheckDirective, parse_check
from builder.errors import DockerfileError
from builder.plan.findings import Finding
from builder.plan.steps import Options
from builder.plan.steps import Warning as LintWarning

BUILD_ARG = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that takes the place of the file's own ``# check=``."""

_ABOVE = re.compile(r"#?[ \t]*check[ \t]*=[ \t]*(\S+)", re.IGNORECASE)


def heeded(dockerfile: Dockerfile, options: Options, findings: Iterable[Finding]) -> tuple[LintWarning, ...]:
    """The findings, and those of the text, that are not to be skipped, in the order of the lines."""
    check = _check(dockerfile, options)
    kept: list[LintWarning] = []
    for finding in (*_textual(dockerfile), *findings):
        found = finding.warning
        if _above(check, finding.comment).heeds(found.rule, experimental=found.rule in EXPERIMENTAL):
            kept.append(found)
    return tuple(sorted(kept, key=lambda warning: warning.where.line))


def violation(dockerfile: Dockerfile, options: Options, warnings: Collection[LintWarning]) -> DockerfileError | None:
    """The mistake that *warnings* are where the file says ``error=true``: ``lint-violation``, all beside it."""
    if not warnings or not _check(dockerfile, options).error:
        return None
    rules = ", ".join(dict.fromkeys(warning.rule for warning in warnings))
    return DockerfileError(
        f"lint violation found for rules: {rules}",
        code="lint-violation",
        where=next(iter(warnings)).where,
        hint="the file says check=error=true",
        also=tuple(
            DockerfileError(f"{warning.rule}: {warning.message}", code="lint-violation", where=warning.where)
            for warning in warnings
        ),
    )


def _check(dockerfile: Dockerfile, options: Options) -> CheckDirective:
    if BUILD_ARG in options.build_args:
        return parse_check(options.build_args[BUILD_ARG])
    return parse_check(dockerfile.directives.check)


def _textual(dockerfile: Dockerfile) -> Iterator[Finding]:
    for found in lint(dockerfile):
        yield Finding(LintWarning(rule=found.rule, message=found.message, where=found.span), found.comment)


def _above(check: CheckDirective, comment: str) -> CheckDirective:
    """With what the comment above an instruction adds; one that cannot be read adds nothing."""
    for line in comment.splitlines() if "check" in comment.lower() else ():
        found = _ABOVE.match(line)
        if found:
            try:
                return check.merged(parse_check(found[1]))
            except DockerfileError:
                return check
    return check
