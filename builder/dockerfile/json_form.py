"""When arguments are a JSON array (exec form), and what is in it.

BuildKit hands whatever begins with ``[`` to Go's ``encoding/json``: an array of strings is the exec form, an array
with anything else in it a mistake, and what is no JSON at all is shell form. So ``RUN [ -f x ] && y`` runs a shell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from builder.dockerfile.tokens import Token
from builder.dockerfile.words import GO_SPACE

# RFC 8259, sections 2, 6 and 7. Go's decoder allows what the grammar allows and nothing else (no NaN, no comments).
_TOKEN = re.compile(
    r"[ \t\r\n]*+(?:"
    r"(?P<string>\"[^\"\\\x00-\x1f]*+(?:\\(?:[\"\\/bfnrt]|u[0-9a-fA-F]{4})[^\"\\\x00-\x1f]*+)*+\")"
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r"|(?P<word>true|false|null)"
    r"|(?P<sign>[\[\]{},:]))"
)
_REST = re.compile(r"[ \t\r\n]*\Z")
_ESCAPE = re.compile(r"\\u([dD][89abAB]..)\\u([dD][c-fC-F]..)|\\u(....)|\\(.)")
_MEANING = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_MAX_DEPTH = 10_000
"""Go's decoder gives up on deeper nesting, which makes the text shell form."""


@dataclass(frozen=True, slots=True)
class NotStrings:
    """The text is a JSON array, and ``source[start:end]`` is an element that is no string."""

    start: int
    end: int


def parse_json(source: str, start: int, end: int) -> list[Token] | NotStrings | None:
    """The strings of the array that ``source[start:end]`` is; None if that is no JSON array."""
    text = source[start:end]
    at = len(text) - len(text.lstrip(GO_SPACE))
    if not text.startswith("[", at):
        return None
    strings: list[Token] = []
    alien: NotStrings | None = None
    stack: list[str] = []
    expect = "value"
    while True:
        found = _TOKEN.match(text, at)
        if not found or not _allowed(found, expect, stack):
            return None
        begin, at = found.start(found.lastgroup or 0), found.end()
        if len(stack) == 1 and expect in ("value", "value or end") and found[0].lstrip(" \t\r\n") != "]":
            if found["string"]:
                strings.append(Token(_decode(found["string"]), start + begin, start + at))
            elif alien is None:
                alien = NotStrings(start + begin, start + at)
        expect = _step(found, expect, stack)
        if len(stack) > _MAX_DEPTH:
            return None
        if not stack:
            break
    if not _REST.match(text, at):
        return None
    return alien or strings


def _allowed(found: re.Match[str], expect: str, stack: list[str]) -> bool:
    sign = found["sign"]
    if number := found["number"]:
        # A number too large for a float64 is an error to Go, and the text no JSON.
        return expect.startswith("value") and float(number) not in (float("inf"), float("-inf"))
    if found["string"]:
        return expect.startswith(("value", "key"))
    if found["word"]:
        return expect.startswith("value")
    if sign in ("[", "{"):
        return expect.startswith("value")
    if sign == "]":
        return stack[-1:] == ["["] and expect in ("value or end", "comma")
    if sign == "}":
        return stack[-1:] == ["{"] and expect in ("key or end", "comma")
    return expect == ("comma" if sign == "," else "colon")


def _step(found: re.Match[str], expect: str, stack: list[str]) -> str:
    """What is expected after an allowed token; opens and closes on *stack*."""
    match found["sign"]:
        case "[":
            stack.append("[")
            return "value or end"
        case "{":
            stack.append("{")
            return "key or end"
        case "]" | "}":
            stack.pop()
            return "comma"
        case ",":
            return "value" if stack[-1] == "[" else "key"
        case ":":
            return "value"
    return "colon" if expect.startswith("key") else "comma"


def _decode(string: str) -> str:
    body = string[1:-1]
    return _ESCAPE.sub(_meaning, body) if "\\" in body else body


def _meaning(found: re.Match[str]) -> str:
    high, low, code, letter = found.groups()
    if letter:
        return _MEANING.get(letter, letter)
    if code:
        # Half of a pair is no character: Go's decoder makes it U+FFFD.
        value = int(code, 16)
        return "\ufffd" if 0xD800 <= value < 0xE000 else chr(value)
    return chr(0x10000 + (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00)
