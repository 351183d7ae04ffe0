"""``# syntax=``: another frontend is named there, or another version of this one. There is one, and it says so.

Source: BuildKit's ``frontend/dockerfile/builder/build.go`` (the order of argument and directive), and the Dockerfile
reference, "syntax", "BUILDKIT_SYNTAX".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from builder.dockerfile.directives import read_directives
from builder.dockerfile.lines import read_lines
from builder.errors import DockerfileError, Place

VERSION = (1, 26)
"""The version of docker/dockerfile whose language is understood, what is experimental in it included."""

_ARGUMENT = "BUILDKIT_SYNTAX"
_FRONTEND = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::(?P<tag>[\w.-]+))?(?:@.*)?", re.ASCII)
_NEWER = frozenset({"unknown-instruction", "unknown-flag", "unknown-mount-key"})


def asked_for(text: bytes, name: str, build_args: Mapping[str, str]) -> tuple[str, Place | None]:
    """The frontend that a build asks for, "" for none, and where; a file that cannot be read asks for none."""
    if argument := build_args.get(_ARGUMENT, "").strip():
        return argument.partition(" ")[0], None
    if b"syntax" not in text[:65536].lower():
        return "", None
    try:
        directives = read_directives(read_lines(text, name))
    except DockerfileError:
        return "", None
    return directives.syntax, dict(directives.spans).get("syntax")


def foreign(frontend: str) -> str | None:
    """What is to be said of a frontend that is not Docker's; None for Docker's."""
    if frontend in ("", "dockerfile.v0") or _FRONTEND.fullmatch(frontend):
        return None
    return f"the frontend {_shown(frontend)} is not run: the file is read as one of docker/dockerfile:1"


def explain(error: DockerfileError, frontend: str) -> None:
    """Give *error*, and those beside it, the hint that what is wrong here may be right to *frontend*."""
    hint = _hint(frontend)
    for each in (error, *error.also) if hint else ():
        if each.code in _NEWER or foreign(frontend):
            each.hint = f"{each.hint}; {hint}" if each.hint else hint


def _hint(frontend: str) -> str:
    known = ".".join(map(str, VERSION))
    if foreign(frontend):
        return (
            f"it may be right to {_shown(frontend)}, a frontend that is not run; here it is docker/dockerfile:{known}"
        )
    found = _FRONTEND.fullmatch(frontend)
    numbers = [int(part) for part in re.findall(r"\d{1,6}", (found["tag"] or "") if found else "")][:2]
    if "labs" in frontend or "master" in frontend or tuple(numbers) > VERSION:
        return f"{_shown(frontend)} may know it; here the language is that of docker/dockerfile:{known}-labs"
    return ""


def _shown(frontend: str) -> str:
    text = "".join(char if char.isprintable() else "\ufffd" for char in frontend)
    return text if len(text) <= 100 else text[:100] + "…"
