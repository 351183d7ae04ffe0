"""A logical line with its keyword, its flags and its arguments found, and what all instructions ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from builder.dockerfile import tokens
from builder.dockerfile.instructions import Heredoc, Word
from builder.dockerfile.json_form import NotStrings, parse_json
from builder.dockerfile.lines import LogicalLine
from builder.dockerfile.source import Span
from builder.dockerfile.tokens import Token
from builder.dockerfile.words import GO_SPACE
from builder.errors import DockerfileError


class Common(TypedDict):
    """The fields of ``Instruction``."""

    name: str
    original: str
    span: Span
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An instruction whose arguments are not understood yet.

    keyword     as written;  name  in upper case
    flags       unquoted, each with the ``--`` before it
    start, end  the arguments in ``line.text``, without spaces at the ends
    strings     the elements, if the arguments are a JSON array of strings and the instruction has that form
    """

    line: LogicalLine
    keyword: Token
    name: str
    flags: tuple[Token, ...]
    start: int
    end: int
    escape: str
    comment: str
    strings: tuple[Token, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def args(self) -> str:
        """The arguments' text."""
        return self.line.text[self.start : self.end]

    @property
    def span(self) -> Span:
        """The keyword to the end of the line."""
        return self.line.span(self.keyword.start, max(self.end, self.keyword.end))

    def common(self) -> Common:
        """What every instruction has."""
        return {
            "name": self.name,
            "original": self.line.text.strip(GO_SPACE),
            "span": self.span,
            "comment": self.comment,
        }

    def word(self, token: Token, *, literal: bool = False) -> Word:
        """A token and its place."""
        return self.line.word(token.start, token.end, token.text, literal=literal)

    def whole(self) -> Word:
        """All arguments as one word."""
        return self.line.word(self.start, self.end)

    def listed(self) -> list[Token]:
        """The elements of the JSON array, or else the words between spaces."""
        if self.strings is not None:
            return list(self.strings)
        return list(tokens.split(self.line.text, self.start, self.end))

    def mistake(
        self, message: str, token: Token | None = None, *, code: str = "bad-arguments", hint: str | None = None
    ) -> DockerfileError:
        """An error at *token*, or else at the keyword."""
        place = token or self.keyword
        return DockerfileError(message, code=code, where=self.line.span(place.start, place.end), hint=hint)


_JSON = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
"""Instructions whose arguments may be a JSON array; HEALTHCHECK has one behind its type."""


def read_statement(line: LogicalLine, escape: str, comment: str) -> Statement:
    """Find keyword, flags and arguments.

    raises  DockerfileError ``json-not-strings``, ``nul-byte``
    """
    text = line.text
    if "\0" in text:
        at = text.index("\0")
        raise DockerfileError(
            "the line holds a NUL byte",
            code="nul-byte",
            where=line.span(at, at + 1),
            hint="is the file UTF-16? a Dockerfile is UTF-8",
        )
    keyword, rest, end = tokens.keyword(text)
    # Not all that Python maps to ASCII letters is one: "ſ".upper() is "S".
    name = keyword.text.upper() if keyword.text.isascii() else keyword.text
    flags, start = tokens.flags(text, rest, end, escape)
    start, end = tokens.trimmed(text, start, end)
    strings = read_strings(line, start, end) if name in _JSON else None
    return Statement(
        line=line,
        keyword=keyword,
        name=name,
        flags=tuple(flags),
        start=start,
        end=end,
        escape=escape,
        comment=comment,
        strings=strings,
    )


def read_strings(line: LogicalLine, start: int, end: int) -> tuple[Token, ...] | None:
    """The strings of a JSON array, None if the text is none.

    raises  DockerfileError ``json-not-strings``
    """
    strings = parse_json(line.text, start, end)
    if isinstance(strings, NotStrings):
        raise DockerfileError(
            "when using JSON array syntax, arrays must be comprised of strings only",
            code="json-not-strings",
            where=line.span(strings.start, strings.end),
            hint="put the element into double quotes",
        )
    return None if strings is None else tuple(strings)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the known word most like *word*, or None."""
    # Only a mistake needs it, and importing it takes longer than parsing an ordinary Dockerfile.
    from difflib import get_close_matches

    # Its time is the square of the word's length.
    match = get_close_matches(word[:64], list(known), n=1)
    return f"did you mean {match[0]}?" if match else None
