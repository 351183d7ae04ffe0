"""Two pattern languages: Go's ``filepath.Match`` for sources, and patternmatcher's for ``--exclude`` and ``--parents``.

In both ``*`` and ``?`` stop at "/", ``[a-z]`` and ``[^a-z]`` are classes (which in Go may match "/"), and a backslash
takes the next character as it is. The second has ``**`` besides, for any number of folders.

source   Go, path/filepath/match.go; moby/patternmatcher, patternmatcher.go, whose choices are followed one by one
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
    for star, following in zip(stars, stars[1:], strict=False):
        between = "".join(pieces[star + 1 : following])
        if "/" in pieces[star + 1 : following] or re.escape("/") in pieces[star + 1 : following]:
            continue
        done += "".join(pieces[last:star]) + f"(?>[^/]*?{between})"
        last = following
    return done + "".join(pieces[last:])


class Patterns:
    """An ordered list of patterns, as ``--exclude`` and ``--parents`` have them; ``!`` takes back what one before took.

    raises   BadPattern
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_Pattern(text) for text in (each.strip() for each in patterns) if text]
        self.exceptions = any(pattern.exception for pattern in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def begin(self) -> tuple[bool, ...]:
        """What nothing has matched yet."""
        return (False,) * len(self._patterns)

    def matches(self, path: str, above: tuple[bool, ...]) -> tuple[bool, tuple[bool, ...]]:
        """Whether *path* matches, and which patterns it matched, to be given as *above* for what is in it."""
        matched = False
        own: list[bool] = []
        for pattern, from_above in zip(self._patterns, above, strict=True):
            # A pattern that cannot change the answer isn't asked, and then it is not handed down either.
            hit = from_above or (pattern.exception == matched and pattern.match(path))
            own.append(hit)
            if hit:
                matched = not pattern.exception
        return matched, tuple(own)

    def may_match_below(self, folder: str) -> bool:
        """False if no pattern but exceptions can match anything in *folder*."""
        return any(not pattern.exception and pattern.may_match_below(folder) for pattern in self._patterns)


class _Pattern:
    def __init__(self, text: str) -> None:
        cleaned = _go_clean(text)
        self.exception = cleaned.startswith("!")
        if self.exception:
            cleaned = cleaned[1:]
            if not cleaned:
                raise BadPattern(text)
        match_expression(cleaned)  # for its errors: what Go's Match refuses is no pattern here either
        self._text = cleaned
        self._compile(cleaned)
        self._parts: list[re.Pattern[str] | None] | None = None

    def _compile(self, text: str) -> None:
        kind, expression = _translate(text)
        if kind == "prefix":
            prefix = text[:-2]
            self.match = lambda path: path.startswith(prefix)
        elif kind == "suffix":
            suffix = text[2:]
            self.match = lambda path: path.endswith(suffix) or (suffix[:1] == "/" and path == suffix[1:])
        elif kind == "exact":
            self.match = lambda path: path == text
        else:
            fullmatch = re.compile(expression).fullmatch
            self.match = lambda path: fullmatch(path) is not None

    def may_match_below(self, folder: str) -> bool:
        if self._parts is None:
            self._parts = []
            for part in self._text.split("/"):
                # From a ** on, or a class that may take a slash, anything may match.
                expression, crossing = (None, True) if "**" in part else match_expression(part)
                self._parts.append(None if crossing else expression)
                if crossing:
                    break
        names = folder.split("/")
        for index, name in enumerate(names):
            if index >= len(self._parts):
                return False
            expression = self._parts[index]
            if expression is None:
                return True
            if not expression.fullmatch(name):
                return False
        return len(names) < len(self._parts)


def _go_clean(text: str) -> str:
    """filepath.Clean: unlike ``clean`` it keeps a leading slash, and ``..`` that nothing is before."""
    rooted = text.startswith("/")
    kept: list[str] = []
    for part in text.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part == ".." and rooted:
            continue
        elif part not in ("", "."):
            kept.append(part)
    return "/" * rooted + "/".join(kept) or "."


def _translate(text: str) -> tuple[str, str]:
    """How the pattern is matched, in patternmatcher's four ways, and its expression."""
    kind = "exact"
    out = ""
    at = 0
    while at < len(text):
        char = text[at]
        first = at == 0
        at += 1
        if char == "*" and text[at : at + 1] == "*":
            at += 1
            if text[at : at + 1] == "/":
                at += 1
            if at == len(text):
                if kind == "exact":
                    kind = "prefix"
                else:
                    kind, out = "expression", out + r"[^\n]*"
            else:
                kind, out = "expression", out + r"(?:[^\n]*/)?"
            if first:
                kind = "suffix"
        elif char == "*":
            kind, out = "expression", out + "[^/]*"
        elif char == "?":
            kind, out = "expression", out + "[^/]"
        elif char == "[":
            found, at = _take_class(text, at)
            kind, out = "expression", out + found.text
        elif char == "\\":
            kind, out = "expression", out + re.escape(text[at])
            at += 1
        else:
            out += re.escape(char)
    return kind, out
