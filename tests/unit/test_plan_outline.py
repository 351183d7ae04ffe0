"""What a target can be given, and which targets there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from plans import AMD64, answer

from builder.cli import outlines
from builder.dockerfile.parse import parse
from builder.errors import ImageError
from builder.plan.check import check
from builder.plan.compile import missing_bases
from builder.plan.outline import Outline, outline, targets
from builder.plan.steps import Base, BaseKey, Options

# As BuildKit's own test of its outline has it.
FILE = """
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx="usy${inherited}"

FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN true

FROM alpine${unused} AS second
ARG BAZ
RUN true

FROM scratch AS third
ARG ABC=a
# check=skip=all
ARG password
# alternate_password will show up in the outline
# check=skip=all
ARG alternate_password

# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /

FROM second
"""


def outlined(text: str, **options: Any) -> Outline:
    dockerfile = parse(text.encode(), "Dockerfile")
    chosen = Options(**options)
    bases: dict[BaseKey, Base] = {}
    while missing := missing_bases(dockerfile, chosen, bases):
        bases.update({key: answer(key, {}) for key in missing})
    return outline(dockerfile, chosen, bases)


def arguments(found: Outline) -> list[tuple[str, str | None, str, int]]:
    return [(one.name, one.value, one.description, one.where.line) for one in found.arguments]


def test_the_arguments_of_all_that_a_target_needs_are_told_in_the_order_of_the_file() -> None:
    found = outlined(FILE, target="target", build_args={"BAR": "678"})
    assert (found.name, found.description) == ("target", "defines build target")
    assert arguments(found) == [
        ("inherited", "box", "", 2),
        ("sfx", "usybox", "is a suffix", 6),
        ("FOO", "123", "", 10),
        ("BAR", "678", "is a number", 12),
        ("ABC", "a", "", 20),
        ("password", None, "", 22),
        ("alternate_password", None, "will show up in the outline", 25),
    ]


def test_without_a_target_it_is_the_last_stage() -> None:
    found = outlined(FILE)
    assert found.name == ""
    assert [name for name, *_ in arguments(found)] == ["inherited2", "unused", "BAZ"]


def test_an_argument_taken_over_from_the_top_stands_there() -> None:
    assert arguments(outlined("ARG A=1\nFROM scratch\nARG A\n")) == [("A", "1", "", 1)]


def test_a_platform_argument_is_nobody_s_to_give() -> None:
    assert arguments(outlined("FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\n")) == []


def test_an_argument_made_of_its_former_self_needs_what_that_needed() -> None:
    text = "ARG B=1\nARG A=$B\nARG A=$A-2\nFROM a:$A\n"
    assert arguments(outlined(text)) == [("B", "1", "", 1), ("A", "1-2", "", 3)]


def test_secrets_and_agents_are_told_once_as_the_nearest_stage_wants_them() -> None:
    text = """FROM a AS base
RUN --mount=type=secret,id=x,required=true --mount=type=ssh true
FROM base
ARG BAR=1
RUN --mount=type=secret,id=x --mount=type=secret,id=y$BAR true
RUN --mount=type=ssh,id=other,required=true true
"""
    found = outlined(text)
    assert [(one.name, one.required, one.where.line) for one in found.secrets] == [("x", False, 5), ("y1", False, 5)]
    assert [(one.name, one.required, one.where.line) for one in found.ssh] == [
        ("default", False, 2),
        ("other", True, 6),
    ]


def test_the_outline_is_printed_as_buildkit_prints_it() -> None:
    text = "# app makes it\nFROM a AS app\n# V is which\nARG V=1\nRUN --mount=type=secret,id=key,required=true true\n"
    assert outlines.outline(outlined(text), text.encode(), "text") == (
        "TARGET:      app\n"
        "DESCRIPTION: makes it\n"
        "\n"
        "BUILD ARG   VALUE   DESCRIPTION\n"
        "V           1       is which\n"
        "\n"
        "SECRET   REQUIRED\n"
        "key      true\n"
        "\n"
    )


def test_the_targets_are_printed_as_buildkit_prints_them() -> None:
    text = "# build compiles\nFROM a AS build\nFROM b AS test\nFROM c\n"
    found = targets(parse(text.encode(), "Dockerfile"))
    assert outlines.targets(found, text.encode(), "text") == (
        "TARGET    DESCRIPTION\nbuild     compiles\ntest\n(default)\n"
    )


def test_the_json_leaves_out_what_is_empty() -> None:
    text = "FROM --platform=linux/arm64 a AS build\n"
    found = outlines.targets(targets(parse(text.encode(), "Dockerfile")), b"x", "json")
    assert '"base": "a"' in found
    assert '"platform": "linux/arm64"' in found
    assert "description" not in found
    assert outlines.outline(outlined("FROM a\n"), b"x", "json") == '{\n  "sources": [\n    "eA=="\n  ]\n}\n'


@pytest.mark.parametrize(
    ("text", "warnings", "error"),
    [
        ("FROM a\nCMD x\n", ["JSONArgsRecommended"], None),
        ("FROM a AS B\nFROM c\nCOPY --from=none$X a /\n", ["StageNameCasing"], "variable-in-from"),
        ("FROM a\nCMD x\nCOPY a /b --wrong\nLABEL a=${\n", ["JSONArgsRecommended"], "bad-substitution"),
        ("# check=error=true\nFROM a\nCMD x\n", ["JSONArgsRecommended"], "lint-violation"),
    ],
)
def test_a_check_has_warnings_beside_what_is_wrong(text: str, warnings: list[str], error: str | None) -> None:
    bases: Mapping[BaseKey, Base] = {key: answer(key, {}) for key in (BaseKey(name, AMD64) for name in "ac")}
    found = check(parse(text.encode(), "Dockerfile"), Options(all_stages=True), bases)
    assert [one.rule for one in found.warnings] == warnings
    assert (found.error.code if found.error else None) == error


def test_a_check_without_a_base_says_why_it_is_missing() -> None:
    missing = ImageError("a: not found", code="not-found")
    found = check(parse(b"FROM a AS A\n", "Dockerfile"), Options(), {}, missing)
    assert [one.rule for one in found.warnings] == ["StageNameCasing"]
    assert found.error is missing
