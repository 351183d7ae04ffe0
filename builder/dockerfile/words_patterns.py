"""The wildcards of ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/new}``: ``*`` and ``?``, no brackets.

BuildKit makes a regular expression of a pattern and hands it to an engine that is linear in the text. Python's engine
is not, so a pattern is run here as a set of states held in the bits of one integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


class BadPattern(Exception):
    """A backslash before a character that needs none, or at the end."""


ANY = "?"
"""A pattern's token is a pair: the kind, ``?`` ``*`` or ``=``, and the character that ``=`` means."""

Token = tuple[str, str]


def tokens(pattern: str) -> list[Token]:
    """Take a pattern apart. A backslash quotes ``*``, ``?`` and itself; before ``}`` and ``/`` it just vanishes."""
    found: list[Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char in "*?":
            if char == ANY or found[-1:] != [("*", "")]:
                found.append((char, ""))
        elif char == "\\":
            following = pattern[at : at + 1]
            if following and following in "}/":
                continue
            if not following or following not in "*?\\":
                raise BadPattern(f"invalid escape '\\{following}'")
            found.append(("=", following))
            at += 1
        else:
            found.append(("=", char))
    return found


class _Automaton:
    """State i stands before token i; state len(tokens) accepts. A newline matches no wildcard, as in Go's ``.``."""

    def __init__(self, parts: list[Token]) -> None:
        self.accept = 1 << len(parts)
        self.stars = 0
        self.any = 0
        self.letters: dict[str, int] = {}
        for index, (kind, char) in enumerate(parts):
            if kind == "*":
                self.stars |= 1 << index
            elif kind == ANY:
                self.any |= 1 << index
            else:
                self.letters[char] = self.letters.get(char, 0) | 1 << index
        self.start = self.skip_stars(1)

    def skip_stars(self, states: int) -> int:
        waiting = states & self.stars
        while waiting:
            waiting <<= 1
            waiting &= ~states
            states |= waiting
            waiting &= self.stars
        return states

    def step(self, states: int, char: str) -> int:
        moving = self.letters.get(char, 0)
        staying = 0
        if char != "\n":
            moving |= self.any
            staying = states & self.stars
        return self.skip_stars((states & moving) << 1 | staying)

    def ends(self, text: str, at: int) -> Iterator[int]:
        """Every position where a match that begins at *at* may end, ascending."""
        states = self.start
        if states & self.accept:
            yield at
        while at < len(text) and states:
            states = self.step(states, text[at])
            at += 1
            if states & self.accept:
                yield at


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """*value* without the shortest, or longest, prefix that *pattern* matches; unchanged if none does."""
    return value[_matched(value, tokens(pattern), longest) :]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """*value* without the shortest, or longest, suffix that *pattern* matches."""
    cut = _matched(value[::-1], tokens(pattern)[::-1], longest)
    return value[: len(value) - cut]


def _matched(text: str, parts: list[Token], longest: bool) -> int:
    ends = _Automaton(parts).ends(text, 0)
    return max(ends, default=0) if longest else next(ends, 0)


def replace(value: str, pattern: str, new: str, *, everywhere: bool, limit: int) -> str:
    """*value* with the first match of *pattern*, or every one, replaced; each as long as it can be.

    limit  how many characters may be added; more raise BadPattern
    """
    parts = tokens(pattern)
    starts = _starts(value, parts)
    forward = _Automaton(parts)
    result: list[str] = []
    done = at = added = 0
    while starts and at <= len(value):
        begin = starts.pop()
        if begin < at:
            continue
        end = max(forward.ends(value, begin))
        # Go's ReplaceAllString ignores an empty match right behind the match before it.
        if end > begin or begin > done or not result:
            piece = _filled(new, value[begin:end]) if everywhere else new
            added += len(piece)
            if added > limit:
                raise BadPattern("the result is too long")
            result += value[done:begin], piece
            done = end
            if not everywhere:
                break
        at = max(end, begin + 1)
    return "".join(result) + value[done:]


def _starts(value: str, parts: list[Token]) -> list[int]:
    """Every position where a match begins, descending: the reversed pattern, entered anew at each character."""
    automaton = _Automaton(parts[::-1])
    found = []
    states = automaton.start
    for at in range(len(value), -1, -1):
        if states & automaton.accept:
            found.append(at)
        if at:
            states = automaton.step(states, value[at - 1]) | automaton.start
    return found


_TEMPLATE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


def _filled(template: str, match: str) -> str:
    """Go's ``Regexp.Expand``, which ReplaceAllString applies: ``$0`` is the match, other groups are empty."""
    if "$" not in template:
        return template

    def fill(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        return match if (found[2] or found[3]) == "0" else ""

    return _TEMPLATE.sub(fill, template)
