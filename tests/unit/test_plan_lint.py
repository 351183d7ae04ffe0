"""Lint rules that need the plan, and which findings are heeded."""

from __future__ import annotations

import pytest
from plans import ARM64, image, mistake, plan, rules

from builder.dockerfile.ignore import IgnoreFile
from builder.dockerfile.parse import parse
from builder.plan.check import check
from builder.plan.steps import Options


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM a\nLABEL x=$A\n", [("UndefinedVar", "Usage of undefined variable '$A'", 2)]),
        (
            "FROM a\nENV NAME=1\nLABEL x=$NMAE\n",
            [("UndefinedVar", "Usage of undefined variable '$NMAE' (did you mean $NAME?)", 3)],
        ),
        ("FROM a\nARG A\nLABEL x=$A\n", []),
        ("FROM a\nLABEL x=${A:-1}\n", [("UndefinedVar", "Usage of undefined variable '$A'", 2)]),
        ("FROM a\nRUN echo $A\n", []),
        ("FROM a\nCOPY <<E /f\n$A\nE\n", [("UndefinedVar", "Usage of undefined variable '$A'", 2)]),
        ("ARG A\nFROM a:${A:-1}\n", []),
        ("FROM a:${A:-1}\n", [("UndefinedArgInFrom", "FROM argument 'A' is not declared", 1)]),
        (
            "ARG VERSION=1\nFROM a:${VERSON:-1}\n",
            [("UndefinedArgInFrom", "FROM argument 'VERSON' is not declared (did you mean VERSION?)", 2)],
        ),
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            [
                (
                    "RedundantTargetPlatform",
                    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default"
                    " behavior",
                    1,
                )
            ],
        ),
        ("FROM --platform=$BUILDPLATFORM a\n", []),
        (
            "FROM --platform=linux/amd64 a\n",
            [
                (
                    "FromPlatformFlagConstDisallowed",
                    'FROM --platform flag should not use constant value "linux/amd64"',
                    1,
                )
            ],
        ),
        ("FROM --platform=linux/amd64 a AS build-amd64\n", []),
        (
            "FROM a\nWORKDIR x\nWORKDIR y\n",
            [
                (
                    "WorkdirRelativePath",
                    'Relative workdir "x" can have unexpected results if the base image changes',
                    2,
                )
            ],
        ),
        ("FROM a\nWORKDIR /x\nWORKDIR y\n", []),
        ("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y\n", []),
        (
            "FROM a\nENV API_TOKEN=1\nARG auth\n",
            [
                (
                    "SecretsUsedInArgOrEnv",
                    'Do not use ARG or ENV instructions for sensitive data (ENV "API_TOKEN")',
                    2,
                ),
                ("SecretsUsedInArgOrEnv", 'Do not use ARG or ENV instructions for sensitive data (ARG "auth")', 3),
            ],
        ),
        ("FROM a\nENV TOKEN_FILE=1 PUBLIC_KEY=2 TOKENS=3\n", []),
        (
            "FROM a\nCMD x\n",
            [
                (
                    "JSONArgsRecommended",
                    "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
                    2,
                )
            ],
        ),
        ('FROM a\nSHELL ["/b"]\nCMD x\n', []),
        (
            'FROM a\nCMD ["x"]\nCMD ["y"]\n',
            [
                (
                    "MultipleInstructionsDisallowed",
                    "Multiple CMD instructions should not be used in the same stage because only the last one will be"
                    " used",
                    2,
                )
            ],
        ),
        ('FROM a AS b\nCMD ["x"]\nFROM b\nCMD ["y"]\n', []),
        (
            "FROM a\nEXPOSE 80/TCP\n",
            [("ExposeProtoCasing", "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase", 2)],
        ),
        (
            "FROM a\nEXPOSE 8080:80\n",
            [
                (
                    "ExposeInvalidFormat",
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '8080:80'",
                    2,
                )
            ],
        ),
        (
            "FROM a\nENV A 1\n",
            [
                (
                    "LegacyKeyValueFormat",
                    '"ENV key=value" should be used instead of legacy "ENV key value" format',
                    2,
                )
            ],
        ),
        ("FROM a AS unused\nENV A 1\nWORKDIR x\nFROM a\n", []),
    ],
)
def test_a_rule_finds(text: str, found: list[tuple[str, str, int]]) -> None:
    assert rules(plan(text)) == found


def test_a_file_that_cannot_do_without_arguments_is_found() -> None:
    made = plan("ARG V\nFROM $V\n", build_args={"V": "a"})
    message = "Default value for ARG $V results in empty or invalid base image name"
    assert rules(made) == [("InvalidDefaultArgInFrom", message, 2)]


def test_a_base_of_another_platform_is_found() -> None:
    message = 'Base image a was pulled with platform "linux/arm64", expected "linux/amd64" for current build'
    assert rules(plan("FROM a\n", {"a": image(ARM64)})) == [("InvalidBaseImagePlatform", message, 1)]
    assert rules(plan("FROM a\n", {"a": image(ARM64)}, contexts=frozenset({"a"}))) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# check=skip=UndefinedVar\nFROM a\nLABEL x=$A\nWORKDIR x\n", ["WorkdirRelativePath"]),
        ("# check=skip=all\nFROM a\nLABEL x=$A\nWORKDIR x\n", []),
        ("FROM a\n# check=skip=UndefinedVar\nLABEL x=$A\nLABEL x=$B\n", ["UndefinedVar"]),
        ("FROM a\n# check=skip=UndefinedVar,WorkdirRelativePath\nLABEL x=$A\nWORKDIR x\n", ["WorkdirRelativePath"]),
        ("FROM a\n# check=nonsense\nLABEL x=$A\n", ["UndefinedVar"]),
        ("# check=experimental=all\n\n# other\nFROM a AS b\n", ["InvalidDefinitionDescription"]),
        ("# other\n# b\nFROM a AS c\n", []),
    ],
)
def test_findings_can_be_skipped(text: str, names: list[str]) -> None:
    assert [rule for rule, _, _ in rules(plan(text))] == names


def test_the_build_argument_takes_the_place_of_the_directive() -> None:
    made = plan(
        "# check=skip=all\nFROM a\nLABEL x=$A\n", build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=WorkdirRelativePath"}
    )
    assert [rule for rule, _, _ in rules(made)] == ["UndefinedVar"]


def test_findings_can_be_errors() -> None:
    error = mistake("# check=error=true\nFROM a\nLABEL x=$A\nWORKDIR x\n")
    assert error.message == "lint violation found for rules: UndefinedVar, WorkdirRelativePath"
    assert [other.message for other in error.also] == [
        "UndefinedVar: Usage of undefined variable '$A'",
        'WorkdirRelativePath: Relative workdir "x" can have unexpected results if the base image changes',
    ]


@pytest.mark.parametrize(
    ("line", "patterns", "found"),
    [
        ("COPY a.log b.txt /d/", "*.log\n", ['Attempting to Copy file "a.log" that is excluded by .dockerignore']),
        ("ADD ./d/x /d/", "d\n", ['Attempting to Add file "d/x" that is excluded by .dockerignore']),
        ("COPY a.log /d/", "*.log\n!b.log\n", []),
        ("COPY . /d/", "*.log\n", []),
        ("COPY . /d/", "*\n", ['Attempting to Copy file "." that is excluded by .dockerignore']),
        ("COPY --from=b a.log /d/", "*.log\n", []),
        ("ADD https://example.com/a.log /d/", "*.log\n", []),
    ],
)
def test_a_source_that_is_ignored_is_found(line: str, patterns: str, found: list[str]) -> None:
    made = plan(f"FROM a\n{line}\n", ignore=IgnoreFile.parse(patterns))
    assert [message for rule, message, _ in rules(made) if rule == "CopyIgnoredFile"] == found


def test_a_finding_is_told_for_each_word_of_a_line() -> None:
    assert len(rules(plan("FROM a\nCOPY $A $A$A /x/\n"))) == 2


def test_what_is_found_on_one_line_comes_in_the_order_of_parsing_then_expanding() -> None:
    found = rules(plan("from a as B\nFROM a AS b\nENV TOKEN $X\nARG KEY=$Y\n"))
    assert [(rule, line) for rule, _, line in found] == [
        ("StageNameCasing", 1),
        ("ConsistentInstructionCasing", 1),
        ("DuplicateStageName", 2),
        ("UndefinedVar", 3),
        ("LegacyKeyValueFormat", 3),
        ("SecretsUsedInArgOrEnv", 3),
        ("SecretsUsedInArgOrEnv", 4),
        ("UndefinedVar", 4),
    ]


def test_the_old_form_is_found_in_a_trigger_too_where_it_is_performed() -> None:
    found = rules(plan("FROM a AS b\nONBUILD env X y\nFROM b\n"))
    assert found == [
        ("LegacyKeyValueFormat", '"env key=value" should be used instead of legacy "env key value" format', 3)
    ]


def test_a_finding_reaches_to_the_end_of_the_here_documents() -> None:
    made = plan("FROM a\nCOPY <<one <<two \\\n  /x/\n$A\none\ntwo\n")
    assert [(found.where.line, found.where.end_line) for found in made.warnings] == [(2, 6)]


def test_an_undeclared_variable_is_told_beside_the_platform_that_it_leaves_empty() -> None:
    source = parse(b"FROM --platform=$X a\n", "Dockerfile")
    checked = check(source, Options(), {})
    assert [found.rule for found in checked.warnings] == ["UndefinedArgInFrom"]
    assert checked.error is not None
    assert checked.error.message == "empty platform value from expression $X"
