"""``# check=skip=RULE,…;error=true;experimental=all``: what the author says about the lint rules.

Source: BuildKit's ``linter/linter.go`` (``ParseLintOptions``).
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.dockerfile.numbers import truth
from builder.dockerfile.words import GO_SPACE
from builder.errors import DockerfileError, Place

ALL = frozenset({"all"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDirective:
    """Rules to skip, experimental rules to heed (``{"all"}``: every one), and whether a finding is an error."""

    skip: frozenset[str] = frozenset()
    error: bool = False
    experimental: frozenset[str] = frozenset()

    def heeds(self, rule: str, *, experimental: bool = False) -> bool:
        """Whether *rule* is to be reported."""
        if experimental:
            return self.experimental == ALL or rule in self.experimental
        return self.skip != ALL and rule not in self.skip

    def merged(self, other: CheckDirective) -> CheckDirective:
        """With what a comment above an instruction adds; ``error`` counts for the whole file only."""
        return CheckDirective(
            skip=ALL if ALL in (self.skip, other.skip) else self.skip | other.skip,
            error=self.error,
            experimental=ALL
            if ALL in (self.experimental, other.experimental)
            else self.experimental | other.experimental,
        )


def parse_check(text: str, *, where: Place | None = None) -> CheckDirective:
    """The value of a ``check`` directive, or of the build argument BUILDKIT_DOCKERFILE_CHECK.

    raises  DockerfileError ``bad-check``
    """
    found: dict[str, frozenset[str]] = {}
    error = False
    text = text.strip(GO_SPACE)
    for part in text.split(";", 2) if text else ():
        key, equals, value = part.partition("=")
        key, value = key.strip(GO_SPACE), value.strip(GO_SPACE)
        if not equals:
            raise _mistake(f'invalid check option "{part[:80]}"', where)
        if key == "error":
            decided = truth(value)
            if decided is None:
                raise _mistake(f'failed to parse check option "{part[:80]}": invalid syntax', where)
            error = decided
        elif key in ("skip", "experimental"):
            found[key] = frozenset(rule.strip(GO_SPACE) for rule in value.split(","))
        else:
            raise _mistake(f'invalid check option "{key[:80]}"', where)
    return CheckDirective(
        skip=found.get("skip", frozenset()), error=error, experimental=found.get("experimental", frozenset())
    )


def _mistake(message: str, where: Place | None) -> DockerfileError:
    return DockerfileError(
        f"failed to parse check options: {message}",
        code="bad-check",
        where=where,
        hint="check=skip=RULE,RULE;error=true, or check=skip=all",
    )
