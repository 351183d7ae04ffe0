"""All that is to be said about a Dockerfile without building it: ``--check``.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert.go: DockerfileLint
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.dockerfile.instructions import Dockerfile
from builder.errors import BuilderError, DockerfileError, InternalError
from builder.plan.compile import compiled
from builder.plan.findings import Findings
from builder.plan.heed import heeded, violation
from builder.plan.steps import Base, BaseKey, Options
from builder.plan.steps import Warning as LintWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the lint rules found, and the mistake that forbids to build the file, if there is one."""

    warnings: tuple[LintWarning, ...] = ()
    error: BuilderError | None = None


def check(
    dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base], missing: BuilderError | None = None
) -> Checked:
    """What ``compile_plan`` would warn of and what it would raise, both.

    missing   why a base is not among *bases*; what can be said without it is said all the same
    """
    findings = Findings()
    error: BuilderError | None = None
    try:
        compiled(dockerfile, options, bases, findings)
    except InternalError as e:
        error = missing or e
    except DockerfileError as e:
        error = e
    try:
        warnings = heeded(dockerfile, options, findings.warnings)
    except DockerfileError as e:
        # The build argument that stands for "# check=" cannot be read.
        return Checked(error=error or e)
    return Checked(warnings=warnings, error=error or violation(dockerfile, options, warnings))
