"""Every folder of tests/golden: a Dockerfile, and beside it what it says, or the errors it must give, whole.

``UPDATE_GOLDEN=1 pytest tests/unit/test_dockerfile_golden.py`` writes the expectations anew; read the difference.
"""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.dockerfile.instructions import Directives, Dockerfile, Heredoc, Instruction, Word
from builder.dockerfile.lint import lint
from builder.dockerfile.parse import parse
from builder.dockerfile.source import Span
from builder.errors import DockerfileError

CASES = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/Dockerfile"))


def place(span: Span) -> str:
    end = f"{span.end_line}:{span.end_column}" if span.end_line != span.line else f"{span.end_column}"
    return f"{span.line}:{span.column}-{end}"


def shown(value: Any) -> Any:
    """The value as JSON: fields that are not at their default, words as ``text @line:column-end``."""
    if isinstance(value, Word):
        return f"{value.text} @{place(value.span)}{' literal' if value.literal else ''}"
    if isinstance(value, Span):
        return place(value)
    if isinstance(value, tuple | list):
        return [shown(item) for item in value]
    if not is_dataclass(value):
        return value
    told = {"is": type(value).__name__} if isinstance(value, Instruction) else {}
    for field in fields(value):
        content = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if isinstance(value, Heredoc) or (content != default and field.name != "name"):
            told[field.name] = shown(content)
    return told


def errors(error: DockerfileError) -> str:
    return "\n".join(
        f"error[{each.code}]: {each.message}"
        + (f"\n{each.where.describe()}" if each.where else "")
        + (f"\nhint: {each.hint}" if each.hint else "")
        for each in (error, *error.also)
    )


def outcome(folder: Path) -> tuple[str, str]:
    try:
        dockerfile: Dockerfile = parse((folder / "Dockerfile").read_bytes(), "Dockerfile")
    except DockerfileError as error:
        return "expected.txt", errors(error) + "\n"
    told = shown(dockerfile)
    if dockerfile.directives == Directives():
        told.pop("directives", None)
    if found := lint(dockerfile):
        told["lint"] = [f"{place(each.span)} {each.rule}: {each.message}" for each in found]
    return "expected.json", json.dumps(told, indent=1, ensure_ascii=True) + "\n"


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_dockerfile_says_what_stands_beside_it(folder: Path) -> None:
    name, text = outcome(folder)
    if os.environ.get("UPDATE_GOLDEN"):
        for old in folder.glob("expected.*"):
            old.unlink()
        (folder / name).write_text(text, encoding="utf-8")
    assert text == (folder / name).read_text(encoding="utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) >= 40
