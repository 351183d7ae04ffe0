"""BuildKit's lint rules: their names, and those that the text alone decides. ``plan.lint`` has the others.

Source: BuildKit's ``linter/ruleset.go``, ``instructions/parse.go``, ``dockerfile2llb/validations.go``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from builder.dockerfile.instructions import Arg, Dockerfile, From, Instruction, Maintainer
from builder.dockerfile.source import Span

RULES = (
    "StageNameCasing",
    "FromAsCasing",
    "NoEmptyContinuation",
    "ConsistentInstructionCasing",
    "DuplicateStageName",
    "ReservedStageName",
    "JSONArgsRecommended",
    "MaintainerDeprecated",
    "UndefinedArgInFrom",
    "WorkdirRelativePath",
    "UndefinedVar",
    "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat",
    "InvalidBaseImagePlatform",
    "RedundantTargetPlatform",
    "SecretsUsedInArgOrEnv",
    "InvalidDefaultArgInFrom",
    "FromPlatformFlagConstDisallowed",
    "CopyIgnoredFile",
    "InvalidDefinitionDescription",
    "ExposeProtoCasing",
    "ExposeInvalidFormat",
)
EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})

_RESERVED_STAGES = frozenset({"context", "scratch"})
_SMALL_BEFORE_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found.

    comment  the comment above the instruction, which may say to skip the rule; "" where BuildKit heeds none
    """

    rule: str
    message: str
    span: Span
    comment: str = ""


def lint(dockerfile: Dockerfile) -> tuple[Finding, ...]:
    """The findings of all textual rules, whether or not the file says to skip them, in the order of the lines.

    Those of one line come as BuildKit finds them: parsing, it looks at each instruction, and then at all of them.
    """
    found = [Finding("NoEmptyContinuation", "Empty continuation line", span) for span in dockerfile.shadowed_lines]
    for argument in dockerfile.globals:
        found += _description("ARG", argument, [pair.key.text for pair in argument.pairs])
    for stage in dockerfile.stages:
        found += _from(stage.origin)
        for instruction in stage.instructions:
            found += _instruction(instruction)
    found += [*_stage_names(dockerfile), *_casing(dockerfile)]
    return tuple(sorted(found, key=lambda finding: finding.span.line))


def documentation(rule: str) -> str:
    """Where a rule is explained; "" for the one that has no page."""
    if rule == "InvalidBaseImagePlatform":
        return ""
    return "https://docs.docker.com/go/dockerfile/rule/" + _SMALL_BEFORE_CAPITAL.sub("-", rule).lower() + "/"


def _stage_names(dockerfile: Dockerfile) -> Iterator[Finding]:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        name, span = stage.origin.stage_name, stage.origin.span
        if name in _RESERVED_STAGES:
            message = f'Stage name should not use the same name as reserved stage "{name}"'
            yield Finding("ReservedStageName", message, span)
        if name and name in seen:
            message = f'Duplicate stage name "{name}", stage names should be unique'
            yield Finding("DuplicateStageName", message, span)
        seen.add(name)


def _casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    found = [each for stage in dockerfile.stages for each in (stage.origin, *stage.instructions)]
    lower = sum(each.keyword == each.keyword.lower() for each in found)
    upper = sum(each.keyword == each.keyword.upper() for each in found)
    # A tie goes to upper case; "Run" counts for neither.
    wanted = "lowercase" if lower > upper else "uppercase"
    for each in found:
        keyword = each.keyword
        if keyword != (keyword.lower() if wanted == "lowercase" else keyword.upper()):
            message = f"Command '{keyword}' should match the case of the command majority ({wanted})"
            yield Finding("ConsistentInstructionCasing", message, each.span)


def _from(origin: From) -> Iterator[Finding]:
    if origin.stage_word is None:
        return
    written = origin.stage_word.text
    if written != written.lower():
        message = f"Stage name '{written}' should be lowercase"
        yield Finding("StageNameCasing", message, origin.span, origin.comment)
    keyword, joint = origin.keyword, origin.original.split()[-2]
    wanted = {keyword.lower(): joint.lower(), keyword.upper(): joint.upper()}.get(keyword, joint)
    if joint != wanted:
        message = f"'{joint}' and '{keyword}' keywords' casing do not match"
        yield Finding("FromAsCasing", message, origin.span, origin.comment)
    yield from _description("FROM", origin, [origin.stage_name])


def _description(name: str, instruction: Instruction, keys: list[str]) -> Iterator[Finding]:
    """A comment above an ARG or a stage that does not begin with what it describes."""
    if instruction.comment and instruction.comment.rpartition("\n")[2].split(" ")[0] not in keys:
        example = keys[0] if len(keys) == 1 else "<arg_key>"
        message = f"Comment for {name} should follow the format: `# {example} <description>`"
        yield Finding("InvalidDefinitionDescription", message, instruction.span, instruction.comment)


def _instruction(instruction: Instruction) -> Iterator[Finding]:
    if isinstance(instruction, Maintainer):
        message = "Maintainer instruction is deprecated in favor of using label"
        yield Finding("MaintainerDeprecated", message, instruction.span, instruction.comment)
    elif isinstance(instruction, Arg):
        yield from _description("ARG", instruction, [pair.key.text for pair in instruction.pairs])
