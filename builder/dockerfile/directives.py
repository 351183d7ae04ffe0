"""The parser directives at the top of a Dockerfile: ``# syntax=``, ``# escape=``, ``# check=``.

Source: BuildKit's ``frontend/dockerfile/parser/directives.go``, and the Dockerfile reference, "Parser directives".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.dockerfile.instructions import Directives
from builder.dockerfile.lines import Lines
from builder.dockerfile.source import Span
from builder.dockerfile.words import GO_SPACE
from builder.errors import DockerfileError

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\f\r ]*=(.+)")
_KNOWN = frozenset({"syntax", "escape", "check"})


def read_directives(lines: Lines) -> Directives:
    """The directives, which end at the first line that is none. Reading begins after them.

    raises  DockerfileError ``bad-directive``: one given twice, an escape that is neither a backslash nor a backtick
    """
    values: dict[str, str] = {}
    spans: list[tuple[str, Span]] = []
    # For ``syntax`` and ``check`` a first line ``#!…`` is no line of the Dockerfile; for ``escape`` it is one.
    shebang = bool(lines.raw) and lines.raw[0].startswith("#!")
    for index, key, value in _candidates(lines, 1 if shebang else 0, "#"):
        if key in values:
            raise DockerfileError(
                f"only one {key} parser directive can be used", code="bad-directive", where=lines.place(index)
            )
        if key == "escape" and shebang:
            continue
        if key == "escape" and value not in ("\\", "`"):
            raise DockerfileError(
                f"invalid escape token '{value}' does not match ` or \\",
                code="bad-directive",
                where=lines.place(index),
            )
        values[key] = value
        spans.append((key, lines.place(index)))
        if not shebang:
            lines.next = index + 1
    if "syntax" not in values:
        for index, key, value in _candidates(lines, 1 if shebang else 0, "//"):
            if key == "syntax" and key not in values:
                values[key] = value
                spans.append((key, lines.place(index)))
    return Directives(
        syntax=values.get("syntax", "").partition(" ")[0],
        escape=values.get("escape", "\\"),
        check=values.get("check", "").partition(" ")[0],
        spans=tuple(spans),
    )


def _candidates(lines: Lines, start: int, marker: str) -> Iterator[tuple[int, str, str]]:
    for index in range(start, len(lines.file.lines)):
        text = lines.file.lines[index].lstrip(GO_SPACE)
        if not text.startswith(marker):
            return
        found = _DIRECTIVE.match(text[len(marker) :].lstrip(GO_SPACE))
        if not found or (key := found[1].lower()) not in _KNOWN:
            return
        # BuildKit's expression wants one character at least, and takes a space if there is nothing else.
        yield index, key, found[2].strip("\t\f\r ") or found[2][-1]
