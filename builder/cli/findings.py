"""What ``--check`` found: as buildx prints it, as its JSON, as SARIF, and as annotations of GitHub's workflows.

source   BuildKit, frontend/subrequests/lint/lint.go and solver/errdefs/source.go; docker/buildx, commands/build.go
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.cli.text import harmless
from builder.dockerfile.lint import documentation
from builder.dockerfile.lint_rules import DESCRIPTIONS
from builder.dockerfile.source import Span

if TYPE_CHECKING:
    from builder.engine.calls import File
    from builder.errors import BuilderError
    from builder.plan.check import Checked
    from builder.plan.steps import Warning as LintWarning

_RULE = "-" * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is to be told. ``path`` leads other programs to the Dockerfile; *file* is None if it cannot be parsed."""

    file: File | None
    checked: Checked
    path: str

    @property
    def mistakes(self) -> tuple[BuilderError, ...]:
        """What forbids to build, but for warnings that do because the file says so."""
        error = self.checked.error
        return () if error is None or error.code == "lint-violation" else (error, *error.also)


def drawn(report: Report, wanted: str) -> str:
    """*report* in the format *wanted*, with a final newline; "" where there is nothing to say."""
    return {"text": _text, "json": _json, "sarif": _sarif, "github": _github}[wanted](report)


def excerpt(lines: list[str], name: str, span: Span) -> list[str]:
    """Some lines around *span*, its own marked, as BuildKit shows them."""
    start, end = span.line, min(max(span.end_line, span.line), len(lines))
    if not 1 <= start <= len(lines):
        return []
    wanted, padding, first, last = (2, 4)[end == start], 0, start, end
    while padding < wanted:
        if first > 1:
            first, padding = first - 1, padding + 1
        if last != len(lines):
            last, padding = last + 1, padding + 1
        padding += 1
    marked = [(number, ">>>" if start <= number <= end else "   ") for number in range(first, last + 1)]
    shown = [f" {number:3d} | {mark} {harmless(lines[number - 1])}".rstrip() for number, mark in marked]
    return [f"{harmless(name)}:{start}", _RULE, *shown, _RULE]


def _text(report: Report) -> str:
    warnings = report.checked.warnings
    if not warnings:
        return "" if report.checked.error else "Check complete, no warnings found.\n"
    count = "1 warning has" if len(warnings) == 1 else f"{len(warnings)} warnings have"
    out = [f"Check complete, {count} been found!"]
    lines = _lines(report)
    for found in warnings:
        link = documentation(found.rule)
        out += ["", f"WARNING: {found.rule}" + (f" - {link}" if link else ""), harmless(found.message)]
        out += excerpt(lines, report.file.name if report.file else report.path, found.where)
    if report.checked.error:
        out.append("")
    return "".join(f"{line}\n" for line in out)


def _lines(report: Report) -> list[str]:
    text = report.file.text if report.file else b""
    return [line.removesuffix("\r") for line in text.decode("utf-8", "backslashreplace").split("\n")]


# --- JSON -----------------------------------------------------------------------------------------------------------


def location(span: Span) -> dict[str, object]:
    """A place as BuildKit's JSON has it: lines, counted from 1."""
    return {"ranges": [{"start": {"line": span.line}, "end": {"line": span.end_line}}]}


def indented(value: object) -> str:
    """*value* as JSON for people and programs."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"


def _json(report: Report) -> str:
    found: dict[str, object] = {"warnings": [_warning(warning) for warning in report.checked.warnings]}
    sources = []
    if report.file:
        data = b64encode(report.file.text).decode()
        sources.append({"filename": report.file.name, "data": data, "language": "Dockerfile"})
    found["sources"] = sources
    if error := report.checked.error:
        found["buildError"] = {"message": error.message, "location": _location(error)}
    return indented(found)


def _warning(found: LintWarning) -> dict[str, object]:
    link = documentation(found.rule)
    return {
        "ruleName": found.rule,
        "description": DESCRIPTIONS[found.rule],
        **({"url": link} if link else {}),
        "detail": found.message,
        "location": location(found.where),
    }


def _location(error: BuilderError) -> dict[str, object]:
    return location(error.where) if isinstance(error.where, Span) and error.where.line else {}


# --- SARIF ----------------------------------------------------------------------------------------------------------


def _sarif(report: Report) -> str:
    """Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0."""
    warnings = report.checked.warnings
    rules = list(dict.fromkeys(found.rule for found in warnings))
    results: list[dict[str, Any]] = []
    for found in warnings:
        result = _result(found.rule, "warning", found.message, report.path, found.where)
        results.append({**result, "ruleIndex": rules.index(found.rule)})
    for error in report.mistakes:
        where = error.where if isinstance(error.where, Span) else None
        results.append(_result(error.code, "error", error.message, report.path, where))
    driver = {"name": "pybuild", "rules": [_described(rule) for rule in rules]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return indented({"version": "2.1.0", "runs": [run]})


def _described(rule: str) -> dict[str, object]:
    link = documentation(rule)
    return {
        "id": rule,
        "shortDescription": {"text": DESCRIPTIONS[rule]},
        **({"helpUri": link} if link else {}),
    }


def _result(rule: str, level: str, message: str, path: str, where: Span | None) -> dict[str, Any]:
    # Only reports for programs need it.
    from urllib.parse import quote

    place: dict[str, object] = {"artifactLocation": {"uri": quote(path)}}
    if where is not None and where.line:
        # 3.30.5 to 3.30.8: lines and columns count from 1, and the end's column is the one behind the last character.
        place["region"] = {
            "startLine": where.line,
            "startColumn": where.column + 1,
            "endLine": where.end_line,
            "endColumn": where.end_column + 1,
        }
    locations = [{"physicalLocation": place}]
    return {"ruleId": rule, "level": level, "message": {"text": message}, "locations": locations}


# --- GitHub ---------------------------------------------------------------------------------------------------------


def _github(report: Report) -> str:
    """Source: GitHub Docs, "Workflow commands for GitHub Actions", "Setting a warning message"."""
    lines = []
    for found in report.checked.warnings:
        link = documentation(found.rule)
        text = f"{found.message} ({link})" if link else found.message
        lines.append(_annotation("warning", found.rule, text, report.path, found.where))
    for error in report.mistakes:
        text = f"{error.message} (hint: {error.hint})" if error.hint else error.message
        where = error.where if isinstance(error.where, Span) else None
        lines.append(_annotation("error", error.code, text, report.path, where))
    return "".join(f"{line}\n" for line in lines)


def _annotation(level: str, title: str, text: str, path: str, where: Span | None) -> str:
    found = {"file": path, "title": title}
    if where is not None and where.line:
        found |= {"line": str(where.line), "endLine": str(where.end_line)}
    properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in found.items())
    return f"::{level} {properties}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    # source: actions/toolkit, packages/core/src/command.ts: escapeData and escapeProperty
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
