"""What a compilation finds wrong or odd, gathered on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from builder.dockerfile.source import Span
from builder.errors import DockerfileError
from builder.plan.steps import Warning as LintWarning

MOST_TEXT = 64 << 20
"""Characters that a plan may hold: a value of a megabyte is repeated for each of thousands of commands otherwise."""

PATH_MAX = 4096
"""Bytes of a path, its NUL among them (limits.h)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A warning, and the comment above its instruction, which may say to skip it."""

    warning: LintWarning
    comment: str


@dataclass(slots=True)
class Findings:
    """Mistakes and warnings of one compilation, in the order of their discovery.

    ports   how many EXPOSE named so far, in all stages;  spent: characters that ``spend`` counted
    """

    mistakes: list[DockerfileError] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    ports: int = 0
    spent: int = 0

    def spend(self, size: int, where: Span) -> None:
        """Count what variables became: DockerfileError ``expansion-too-long`` if it is more than anybody can mean."""
        self.spent += size
        if self.spent > MOST_TEXT:
            raise mistake(
                f"variables and history of the Dockerfile come to more than {MOST_TEXT >> 20} MiB",
                where,
                "expansion-too-long",
                "put long values into files",
            )

    def may_guess(self) -> bool:
        """Whether names that may have been meant are sought still: after a hundred warnings nobody reads them."""
        return len(self.warnings) < 100

    def warn(self, rule: str, message: str, where: Span, comment: str = "") -> None:
        """Note what *rule* found; *comment* stands above the instruction, where it may say to skip the rule."""
        self.warnings.append(Finding(LintWarning(rule=rule, message=message, where=where), comment))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take up a DockerfileError, so that what follows is looked at as well."""
        try:
            yield
        except DockerfileError as error:
            self.mistakes.append(error)

    def settle(self) -> None:
        """Raise the first mistake, with the others beside it; nothing if there is none."""
        if self.mistakes:
            first, *others = self.mistakes
            first.also = (*first.also, *others)
            raise first


def mistake(message: str, where: Span, code: str = "invalid-instruction", hint: str | None = None) -> DockerfileError:
    """An error of the Dockerfile at *where*."""
    return DockerfileError(message, code=code, where=where, hint=hint)


def bounded(path: str, what: str, where: Span) -> None:
    """DockerfileError ``path-too-long`` if the kernel takes no such path: it can be neither made nor mounted on."""
    if len(path) > PATH_MAX:
        raise mistake(f"{what} has more than {PATH_MAX} characters", where, "path-too-long")
