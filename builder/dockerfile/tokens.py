"""The pieces of an instruction's text: keyword, flags, words, name=value pairs, comma separated fields.

Each function works on offsets of one string, so that every piece keeps its place, and reads each character once.
Source: BuildKit's ``parser/split_command.go``, ``parser/line_parsers.go`` and its ``go-csvvalue``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from builder.dockerfile.words import GO_SPACE

_WHITESPACE = re.compile(r"[\t\v\f\r ]+")
_NO_SPACE = re.compile(f"[^{GO_SPACE}]")
_SPACES = frozenset(GO_SPACE)


class Token(NamedTuple):
    """``source[start:end]``, and what it says."""

    text: str
    start: int
    end: int


def trimmed(source: str, start: int, end: int) -> tuple[int, int]:
    """The same range without the spaces at its ends."""
    body = source[start:end].lstrip(GO_SPACE)
    start = end - len(body)
    return start, start + len(body.rstrip(GO_SPACE))


def _skip(source: str, start: int, end: int) -> int:
    """Where the next character is that is no space. Nothing is copied: this is asked for each word of a line."""
    found = _NO_SPACE.search(source, start, end)
    return found.start() if found else end


def keyword(source: str) -> tuple[Token, int, int]:
    """The first word, and the range of what follows it."""
    start, end = trimmed(source, 0, len(source))
    found = _WHITESPACE.search(source, start, end)
    if not found:
        return Token(source[start:end], start, end), end, end
    return Token(source[start : found.start()], start, found.start()), found.end(), end


def split(source: str, start: int, end: int) -> Iterator[Token]:
    """Words between runs of white space; quotes mean nothing."""
    while start < end:
        found = _WHITESPACE.search(source, start, end)
        stop = found.start() if found else end
        yield Token(source[start:stop], start, stop)
        if not found:
            return
        start = found.end()


def split_once(source: str, start: int, end: int) -> tuple[Token, Token] | None:
    """The first word and all the rest, or None where there is but one."""
    found = _WHITESPACE.search(source, start, end)
    if not found:
        return None
    return (
        Token(source[start : found.start()], start, found.start()),
        Token(source[found.end() : end], found.end(), end),
    )


@lru_cache(maxsize=4)
def _stops(escape: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    sign = re.escape(escape)
    return re.compile(f"[{GO_SPACE}'\"{sign}]"), re.compile(f'["{sign}]')


def flags(source: str, start: int, end: int, escape: str) -> tuple[list[Token], int]:
    """Leading words that begin with ``--``, unquoted, and where the arguments begin. ``--`` alone ends the flags."""
    found: list[Token] = []
    while True:
        start = _skip(source, start, end)
        if not source.startswith("--", start, end):
            return found, start
        token = _flag(source, start, end, escape)
        if token.text == "--":
            return found, token.end
        if token.text:
            found.append(token)
        start = token.end


def _flag(source: str, start: int, end: int, escape: str) -> Token:
    outside, _ = _stops(escape)
    inside = {"'": re.compile(f"['{re.escape(escape)}]"), '"': re.compile(f'["{re.escape(escape)}]')}
    parts: list[str] = []
    at = start
    quote = ""
    while at < end:
        stop = (inside[quote] if quote else outside).search(source, at, end)
        parts.append(source[at : stop.start() if stop else end])
        if not stop:
            return Token("".join(parts), start, end)
        at = stop.end()
        if stop.group() == escape:
            # Quotes of either kind let the escape character through here, unlike in a word.
            parts.append(source[at : min(at + 1, end)])
            at += 1
        elif quote:
            quote = ""
        elif stop.group() in _SPACES:
            return Token("".join(parts), start, stop.start())
        else:
            quote = stop.group()
    return Token("".join(parts), start, end)


def words(source: str, start: int, end: int, escape: str) -> Iterator[Token]:
    """Words as a shell would see them, with quotes and escapes still in them (ENV, LABEL, ARG)."""
    outside, double = _stops(escape)
    while True:
        start = _skip(source, start, end)
        if start >= end:
            return
        at = start
        text_end = end
        while at < end:
            stop = outside.search(source, at, end)
            if not stop:
                at = end
            elif stop.group() in _SPACES:
                at = text_end = stop.start()
                break
            elif stop.group() == escape:
                at, text_end = _escaped(stop.start(), end)
            elif stop.group() == "'":
                at = _after(source.find("'", stop.end(), end), end)
            else:
                at, text_end = _double_quoted(source, stop.end(), end, escape, double)
        if text_end > start:
            yield Token(source[start:text_end], start, at)
        start = at


def _after(found: int, end: int) -> int:
    return end if found < 0 else found + 1


def _escaped(at: int, end: int) -> tuple[int, int]:
    """Where to go on behind an escape character, and where the text would end: the last one of all says nothing."""
    return (end, at) if at + 1 >= end else (at + 2, end)


def _double_quoted(source: str, at: int, end: int, escape: str, stops: re.Pattern[str]) -> tuple[int, int]:
    while stop := stops.search(source, at, end):
        if stop.group() == '"':
            return stop.end(), end
        at, text_end = _escaped(stop.start(), end)
        if at >= end:
            return end, text_end
    return end, end


class BadFields(Exception):
    """A line is no comma separated values."""


def fields(text: str) -> list[str]:
    """A flag's value split at commas (RFC 4180, one record)."""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise BadFields("EOF")
    found: list[str] = []
    at = 0
    while True:
        if not text.startswith('"', at):
            stop = text.find(",", at)
            field = text[at:] if stop < 0 else text[at:stop]
            if (bare := field.find('"')) >= 0:
                raise BadFields(f'parse error on line 1, column {at + bare + 1}: bare " in non-quoted field')
            found.append(field)
            if stop < 0:
                return found
            at = stop + 1
            continue
        field, at = _quoted_field(text, at + 1)
        found.append(field)
        if at >= len(text):
            return found
        at += 1


def _quoted_field(text: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    while (stop := text.find('"', at)) >= 0:
        parts.append(text[at:stop])
        at = stop + 1
        if text.startswith('"', at):
            parts.append('"')
            at += 1
        elif at >= len(text) or text[at] == ",":
            return "".join(parts), at
        else:
            break
    raise BadFields(f'parse error on line 1, column {at + 1}: extraneous or missing " in quoted-field')
