"""Which findings are reported: ``# check=…`` at the top of the file, above an instruction, or as a build argument.

source   BuildKit, frontend/dockerfile/linter/linter.go: Run, WithMergedConfigFromComments, Error; dockerui/config.go
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.lint_options import CheckDirective, parse_check
from builder.errors import DockerfileError
from builder.plan.findings import Finding
from builder.plan.steps import Options
from builder.plan.steps import Warning as LintWarning

BUILD_ARG = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that takes the place of the file's own ``# check=``."""

_ABOVE = re.compile(r"#?[ \t]*check[ \t]*=[ \t]*(\S+)", re.IGNORECASE)
_EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})


def heeded(dockerfile: Dockerfile, options: Options, findings: Sequence[Finding]) -> tuple[LintWarning, ...]:
    """The findings that are not to be skipped, in the order of the file, each once.

    raises   DockerfileError ``lint-violation`` if there are any and the file says ``error=true``
    """
    check = _check(dockerfile, options)
    kept = {f.warning: None for f in findings if _above(check, f.comment).heeds(f.warning.rule, experimental=_new(f))}
    warnings = sorted(kept, key=lambda warning: warning.where.line)
    if check.error and warnings:
        rules = ", ".join(dict.fromkeys(warning.rule for warning in warnings))
        raise DockerfileError(
            f"lint violation found for rules: {rules}",
            code="lint-violation",
            where=warnings[0].where,
            hint="the file says check=error=true",
            also=tuple(
                DockerfileError(f"{warning.rule}: {warning.message}", code="lint-violation", where=warning.where)
                for warning in warnings
            ),
        )
    return tuple(warnings)


def _check(dockerfile: Dockerfile, options: Options) -> CheckDirective:
    if BUILD_ARG in options.build_args:
        return parse_check(options.build_args[BUILD_ARG])
    return parse_check(dockerfile.directives.check)


def _new(finding: Finding) -> bool:
    return finding.warning.rule in _EXPERIMENTAL


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
