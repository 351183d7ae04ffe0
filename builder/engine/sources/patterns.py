"""The patterns of sources: Go's ``filepath.Match``.

``*`` and ``?`` stop at "/", ``[a-z]`` and ``[^a-z]`` are classes (which may match "/"), and a backslash takes the next
character as it is. ``**`` is no more than ``*``. (``--exclude`` and ``--parents`` have those of ``.dockerignore``.)

source   Go, path/filepath/match.go; tonistiigi/fsutil, copy/copy.go, containsWildcards
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_END = ""


class BadPattern(ValueError):
    """The pattern is malformed: an open bracket, an empty class, a backslash at the end."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"syntax error in pattern {pattern!r}")


def has_wildcards(text: str) -> bool:
    """Whether *text* is a pattern: it holds ``*``, ``?`` or ``[`` that no backslash quotes."""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] in "*?[":
            return True
        at += 1
    return False


def clean(path: str) -> str:
    """*path* without empty, ``.`` and ``..`` components; the latter stop at the top. No slash at either end."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


@dataclass(frozen=True, slots=True)
class _Class:
    """``[…]`` as a regular expression, and whether it takes "/"."""

    text: str
    slash: bool


def _take_class(pattern: str, at: int) -> tuple[_Class, int]:
    """The class that begins behind the bracket before *at*, and where it ends."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    slash = False
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _take_bound(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _take_bound(pattern, at + 1)
        slash = slash or low <= "/" <= high
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    members = "".join(ranges)
    if not members:  # Go: [z-a] is no error, and matches nothing
        return _Class(r"[\s\S]" if negated else r"(?!)", negated), at + 1
    return _Class(f"[{'^' * negated}{members}]", slash != negated), at + 1


def _take_bound(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] == "\\":
        at += 1
        char = pattern[at : at + 1]
    else:
        char = pattern[at : at + 1]
        if char in ("-", "]"):
            raise BadPattern(pattern)
    if char == _END:
        raise BadPattern(pattern)
    return char, at + 1


def match_expression(pattern: str) -> tuple[re.Pattern[str], bool]:
    """``filepath.Match(pattern, …)`` as an expression for ``fullmatch``, and whether a class of it takes "/".

    raises   BadPattern
    """
    pieces: list[str] = []
    crossing = False
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if pieces[-1:] != ["[^/]*"]:
                pieces.append("[^/]*")
        elif char == "?":
            pieces.append("[^/]")
        elif char == "[":
            found, at = _take_class(pattern, at)
            pieces.append(found.text)
            crossing = crossing or found.slash
        elif char == "\\":
            if at == len(pattern):
                raise BadPattern(pattern)
            pieces.append(re.escape(pattern[at]))
            at += 1
        else:
            pieces.append(re.escape(char))
    return re.compile(_tamed(pieces, crossing)), crossing


def _tamed(pieces: list[str], crossing: bool) -> str:
    """The expression, so written that it never backtracks from one ``*`` into the one before it.

    Between two stars only the first place matters where the pieces between them match, and all pieces are one
    character long: so that part can be atomic, and matching is never worse than quadratic.
    """
    if crossing:
        return "".join(pieces)
    stars = [index for index, piece in enumerate(pieces) if piece == "[^/]*"]
    done = ""
    last = 0
    for star, following in pairwise(stars):
        between = "".join(pieces[star + 1 : following])
        if "/" in pieces[star + 1 : following]:
            continue
        done += "".join(pieces[last:star]) + f"(?>[^/]*?{between})"
        last = following
    return done + "".join(pieces[last:])


class Reach:
    """Whether a pattern of ``--parents`` may match something in a folder: so much can be told of its first components.

    Patterns are those of ``.dockerignore``, in which ``**`` takes any number of folders.
    """

    def __init__(self, pattern: str) -> None:
        self._parts: list[re.Pattern[str]] = []
        self._endless = False
        for part in pattern.split("/"):
            expression, crossing = (None, True) if "**" in part else match_expression(part)
            if expression is None or crossing:
                self._endless = True
                break
            self._parts.append(expression)

    def __call__(self, folder: str) -> bool:
        """Whether the pattern may match below *folder*."""
        names = folder.split("/")
        if len(names) >= len(self._parts) and not self._endless:
            return False
        return all(part.fullmatch(name) for part, name in zip(self._parts, names, strict=False))
