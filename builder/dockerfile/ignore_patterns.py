"""One pattern of a ``.dockerignore``: what it is made of, and the regular expression that it means.

Source: github.com/moby/patternmatcher, whose translation is kept, and Go's ``filepath.Match``, which says what is
well formed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

EXACT, PREFIX, SUFFIX, REGEX = "exact", "prefix", "suffix", "regex"

STAR, GLOB, ALL = "[^/]*", "(?:.*/)?", ".*"
_MAX_LOOSE = 3
"""How many wildcards an expression may have that the engine tries in every combination."""

_ZERO_WIDTH = {"z": r"\Z", "A": r"\A", "b": r"\b", "B": r"\B"}
_LETTER_ESCAPES = _ZERO_WIDTH | {c: "\\" + c for c in "dDwWsSaftnrv"}


class Expression(Protocol):
    """A compiled expression: ``re.Pattern``, or an automaton where that could take too long."""

    def match(self, string: str, /) -> object | None:
        """Something that is true, or None."""
        ...


class BadPattern(Exception):
    """The pattern is not well formed."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern and how it is matched against a whole path.

    text      as patternmatcher cleans it, without the ``!``
    negated   it began with ``!``
    line      in the file, counted from 1; 0 where there is no file
    kind      exact, prefix, suffix (then ``literal`` is compared) or regex (then ``regex`` is)
    needs     texts that are in each path that it matches
    """

    text: str
    negated: bool
    line: int
    kind: str
    literal: str
    regex: Expression | None = field(default=None, compare=False)
    needs: tuple[str, ...] = field(default=(), compare=False)

    def matches(self, path: str) -> bool:
        """Whether the path itself is meant; parents are the caller's business."""
        if self.kind == EXACT:
            return path == self.literal
        if self.kind == PREFIX:
            return path.startswith(self.literal)
        if self.kind == SUFFIX:
            # ``**/foo`` is also foo at the top.
            return path.endswith(self.literal) or (self.literal[:1] == "/" and path == self.literal[1:])
        return self.regex is not None and self.regex.match(path) is not None


def clean(path: str) -> str:
    """The shortest path that means the same: Go's ``filepath.Clean``."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts and parts[-1] != "..":
            parts.pop()
        elif not rooted:
            parts.append(part)
    return "/" * rooted + "/".join(parts) or "."


def compile_pattern(text: str, negated: bool, line: int) -> Pattern:
    """A cleaned pattern.

    raises  BadPattern
    """
    _check(text)
    parts, kind = _parts(text)
    if kind == EXACT:
        return Pattern(text, negated, line, kind, text)
    if kind == PREFIX:
        return Pattern(text, negated, line, kind, text[:-2], needs=(text[:-2],))
    if kind == SUFFIX:
        # With a slash before it, it is also what stands at the top.
        return Pattern(text, negated, line, kind, text[2:], needs=(text[2:].removeprefix("/"),))
    needs = _literals(parts)
    bounded = _bounded(parts)
    if sum(part.startswith((STAR, GLOB, ALL)) for part in bounded) > _MAX_LOOSE:
        return Pattern(text, negated, line, kind, "", _Automaton(parts), needs)
    try:
        return Pattern(text, negated, line, kind, "", re.compile("".join(bounded) + r"\Z", re.ASCII), needs)
    except re.error as error:
        raise BadPattern(str(error)) from None


def _check(text: str) -> None:
    r"""Go's grammar: ``[`` is closed, holds a range at least and none that is open; ``\\`` has something to quote."""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "\\":
            at = _after_letter(text, at - 1)
        elif char == "[":
            at += text.startswith("^", at)
            first = True
            while first or not text.startswith("]", at):
                first = False
                at = _after_letter(text, at, "-]")
                if text.startswith("-", at):
                    at = _after_letter(text, at + 1, "-]")
                if at >= len(text):
                    raise BadPattern("a bracket is not closed")
            at += 1


def _after_letter(text: str, at: int, forbidden: str = "") -> int:
    if at >= len(text) or text[at] in forbidden:
        raise BadPattern("a bracket is empty or not closed")
    if text[at] != "\\":
        return at + 1
    if at + 1 >= len(text):
        raise BadPattern("nothing follows the last backslash")
    return at + 2


def _parts(text: str) -> tuple[list[str], str]:
    """The pieces of the regular expression, and patternmatcher's way to match the whole."""
    parts: list[str] = []
    kind = EXACT
    at = 0
    while at < len(text):
        start = at
        char = text[at]
        at += 1
        if text.startswith("**", start):
            at += 1
            # ``**/`` is ``**``: the slash is part of what it may match.
            at += text.startswith("/", at)
            if at < len(text):
                parts.append(GLOB)
                kind = REGEX
            elif kind == EXACT:
                kind = PREFIX
            else:
                parts.append(ALL)
                kind = REGEX
            if start == 0:
                kind = SUFFIX
        elif char == "*":
            parts.append(STAR)
            kind = REGEX
        elif char == "?":
            parts.append("[^/]")
            kind = REGEX
        elif char == "[":
            part, at = _bracket(text, at)
            parts.append(part)
            kind = REGEX
        elif char == "\\":
            parts.append(_escape(text[at]))
            at += 1
            kind = REGEX
        else:
            parts.append(re.escape(char))
            if char == "]":
                kind = REGEX
    return parts, kind


def _literals(parts: list[str]) -> tuple[str, ...]:
    """What stands between the pieces that can match different things."""
    runs = [""]
    for part in parts:
        if len(part) == 1:
            runs[-1] += part
        elif len(part) == 2 and part[0] == "\\" and not part[1].isalnum():
            runs[-1] += part[1]
        else:
            runs.append("")
    return tuple(filter(None, runs))


def _escape(char: str) -> str:
    # patternmatcher passes an escaped letter on to the regular expression, where it is a class: ``foo\bar`` has \b.
    if char.isascii() and char.isalnum():
        if char not in _LETTER_ESCAPES:
            raise BadPattern(f"invalid escape sequence \\{char}")
        return _LETTER_ESCAPES[char]
    return re.escape(char)


def _bracket(text: str, at: int) -> tuple[str, int]:
    parts = ["["]
    if text.startswith("^", at):
        parts.append("^")
        at += 1
    while text[at] != "]":
        char = text[at]
        at += 1
        if char in "*?":
            # To patternmatcher a wildcard in brackets ends them, and nobody can mean what comes of it.
            raise BadPattern(f"'{char}' in brackets")
        if char == "\\":
            parts.append(_escape(text[at]))
            at += 1
        else:
            parts.append(char if char == "-" else re.escape(char))
    return "".join(parts) + "]", at + 1


def _bounded(parts: list[str]) -> list[str]:
    """The same expression, made to fail in time that is linear where another ``*`` follows.

    Between two single stars the first place where the text between them fits is as good as any later one, so nothing
    else need be tried: an atomic group. Python would try them all, in each combination.
    """
    result: list[str] = []
    at = 0
    while at < len(parts):
        if parts[at] != STAR:
            result.append(parts[at])
            at += 1
            continue
        end = next((i for i in range(at + 1, len(parts)) if parts[i] in (STAR, GLOB, ALL)), len(parts))
        between = "".join(parts[at + 1 : end])
        if end < len(parts) and parts[end] == STAR:
            result.append(f"(?>[^/]*?{between})")
        else:
            result.append(STAR + between)
        at = end
    return result


class _Automaton:
    """The same expression as a set of states, the bits of one integer: linear, if slower where time is no danger.

    A ``**`` has two states: before it, and within it; a slash leads out.
    """

    def __init__(self, parts: list[str]) -> None:
        self.single: list[tuple[int, re.Pattern[str]]] = []
        self.masks: dict[str, int] = {}
        self.skip = self.inside = self.star = self.all = 0
        bit = 1
        for part in parts:
            if part == GLOB:
                self.skip |= bit
                bit <<= 1
                self.inside |= bit
            elif part == STAR:
                self.star |= bit
            elif part == ALL:
                self.all |= bit
            elif part in _ZERO_WIDTH.values():
                raise BadPattern("too many wildcards")
            else:
                try:
                    self.single.append((bit, re.compile(part, re.ASCII)))
                except re.error as error:
                    # A class whose range runs backwards: Go's regexp, which BuildKit compiles it to, refuses it too.
                    raise BadPattern(error.msg) from None
            bit <<= 1
        self.accept = bit

    def mask(self, char: str) -> int:
        """The states that *char* leads out of."""
        if (known := self.masks.get(char)) is None:
            known = sum(bit for bit, part in self.single if part.fullmatch(char))
            self.masks[char] = known
        return known

    def rest(self, states: int) -> int:
        """With all states that are reached by reading nothing."""
        while True:
            more = states | (states & (self.star | self.all)) << 1 | (states & self.skip) << 2
            if more == states:
                return states
            states = more

    def match(self, string: str, /) -> object | None:
        """Whether the whole string is accepted."""
        states = self.rest(1)
        for char in string:
            moved = (states & self.mask(char)) << 1
            if char != "\n":
                moved |= (states & self.skip) << 1 | states & (self.inside | self.all)
            if char == "/":
                moved |= (states & self.inside) << 1 | (states & self.skip) << 2
            else:
                moved |= states & self.star
            states = self.rest(moved)
            if not states:
                return None
        return True if states & self.accept else None
