"""A template's text as a tree.

source   Go, text/template/parse
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Union

from builder.errors import UsageError

MOST_DEPTH = 100
"""Levels of nesting; far beyond any that is meant."""


@dataclass(frozen=True, slots=True)
class Field:
    """``.A.B``, ``$x.A``, ``(…).A``: names looked up in what ``of`` gives; None: the dot."""

    of: Word | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """Text, a number, a truth or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """``$x``; ``$`` is the whole value."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name."""

    name: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each one's value the last argument of the next; ``variables`` are set to the last one's.

    anew  whether the variables are new (``:=``), or those of a scope around (``=``)
    """

    commands: tuple[tuple[Word, ...], ...]
    variables: tuple[str, ...] = ()
    anew: bool = True


Word = Union[Field, Constant, Variable, Function, Pipeline]  # noqa: UP007 - the names in it are not all known yet


@dataclass(frozen=True, slots=True)
class Text:
    """Text that stands as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A value that is written."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """``if``, and ``with``, which makes the value the dot (``enters``)."""

    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    enters: bool


@dataclass(frozen=True, slots=True)
class Each:
    """``range``."""

    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Action | Branch | Each


def bad(text: str, why: str, hint: str | None = None) -> UsageError:
    """The error of a template."""
    return UsageError(f"template {text!r}: {why}", code="bad-template", hint=hint)


def parse(text: str) -> tuple[Node, ...]:
    """The nodes of *text*; UsageError ``bad-template``."""
    reader = _Reader(text)
    nodes, end = reader.nodes(0)
    if end:
        raise bad(text, f"unexpected {{{{{end}}}}}")
    return nodes


# source: text/template, "Text and spaces": "{{- " and " -}}" take the white space beside them away
_ACTION = re.compile(
    r"\{\{(?P<left>- )?(?P<inner>(?:\"(?:[^\"\\]|\\.)*\"|`[^`]*`|/\*.*?\*/|(?!\}\}).)*?)(?P<right> -)?\}\}", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s+
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<raw>`[^`]*`)
    |(?P<number>[-+]?\d+(?:\.\d+)?)
    |(?P<fields>(?:\.[A-Za-z_]\w*)+)|(?P<dot>\.)
    |(?P<variable>\$\w*)|(?P<name>[A-Za-z_]\w*)
    |(?P<mark>:=|[=|(),])
    """,
    re.VERBOSE,
)


@dataclass(slots=True)
class _Reader:
    text: str
    pieces: list[str | tuple[str]] = field(default_factory=list)  # text, or an action's inside in a tuple

    def __post_init__(self) -> None:
        position, trim = 0, False
        for found in _ACTION.finditer(self.text):
            before = self.text[position : found.start()]
            before = before.lstrip() if trim else before
            self.pieces.append(before.rstrip() if found["left"] else before)
            self.pieces.append((found["inner"].strip(),))
            position, trim = found.end(), bool(found["right"])
        rest = self.text[position:]
        if "{{" in rest:
            raise bad(self.text, "an action {{ is not closed by }}")
        self.pieces.append(rest.lstrip() if trim else rest)
        self.pieces.reverse()

    def nodes(self, depth: int) -> tuple[tuple[Node, ...], str]:
        """Nodes up to an end or else, and which: ``end``, ``else``, ``else if …``, or "" at the text's end."""
        if depth > MOST_DEPTH:
            raise bad(self.text, "it is nested too deeply")
        found: list[Node] = []
        while self.pieces:
            piece = self.pieces.pop()
            if isinstance(piece, str):
                if piece:
                    found.append(Text(piece))
                continue
            inner = piece[0]
            if inner.startswith("/*"):
                continue
            keyword, _, rest = inner.partition(" ")
            if keyword in ("end", "else"):
                return tuple(found), inner
            if keyword in ("if", "with", "range"):
                found.append(self._block(keyword, rest, depth))
            else:
                found.append(Action(self._pipeline(inner)))
        return tuple(found), ""

    def _block(self, keyword: str, rest: str, depth: int) -> Node:
        pipeline = self._pipeline(rest)
        then, end = self.nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if end.startswith("else"):
            again, _, condition = end.removeprefix("else").strip().partition(" ")
            if again:
                # {{else if x}} is an if in the else, and they share the end.
                otherwise, end = (self._block(again, condition, depth + 1),), "end"
            else:
                otherwise, end = self.nodes(depth + 1)
        if end != "end":
            raise bad(self.text, f"{{{{{keyword}}}}} has no {{{{end}}}}")
        if keyword == "range":
            return Each(pipeline, then, otherwise)
        return Branch(pipeline, then, otherwise, keyword == "with")

    def _pipeline(self, inner: str) -> Pipeline:
        tokens = _Tokens(self.text, inner)
        pipeline = tokens.pipeline(0)
        if tokens.rest:
            raise bad(self.text, f"unexpected {tokens.rest[-1][1]!r} in {{{{{inner}}}}}")
        return pipeline


class _Tokens:
    """The words of one action; ``rest`` holds those to come, the next last, each with what is right after it."""

    def __init__(self, text: str, inner: str) -> None:
        self.text = text
        self.inner = inner
        self.rest: list[tuple[str, str, int]] = []
        position = 0
        while position < len(inner):
            found = _TOKEN.match(inner, position)
            if found is None:
                raise bad(text, f"unexpected {inner[position]!r} in {{{{{inner}}}}}")
            if found.lastgroup:
                self.rest.append((found.lastgroup, found[0], found.start()))
            position = found.end()
        self.rest.reverse()

    def pipeline(self, depth: int) -> Pipeline:
        if depth > MOST_DEPTH:
            raise bad(self.text, "it is nested too deeply")
        variables, anew = self._variables()
        commands: list[tuple[Word, ...]] = [self._command(depth)]
        while self._next("mark", "|"):
            commands.append(self._command(depth))
        return Pipeline(tuple(commands), variables, anew)

    def _variables(self) -> tuple[tuple[str, ...], bool]:
        """``$x :=``, ``$k, $v :=``, ``$x =``: the names, and whether they are new."""
        kinds = [token[1] if token[0] == "mark" else token[0] for token in reversed(self.rest[-4:])]
        count = 1 if kinds[:1] == ["variable"] and kinds[1:2] in (["="], [":="]) else 0
        if kinds[:3] == ["variable", ",", "variable"] and kinds[3:4] in (["="], [":="]):
            count = 2
        names = tuple(token[1] for token in list(reversed(self.rest))[: 2 * count] if token[0] == "variable")
        del self.rest[len(self.rest) - 2 * count :]
        return names, kinds[2 * count - 1 :][:1] != ["="]

    def _command(self, depth: int) -> tuple[Word, ...]:
        words: list[Word] = []
        while self.rest and not (self.rest[-1][0] == "mark" and self.rest[-1][1] in "|)"):
            words.append(self._word(depth))
        if not words:
            raise bad(self.text, f"a value is missing in {{{{{self.inner}}}}}")
        return tuple(words)

    def _word(self, depth: int) -> Word:
        kind, written, _ = self.rest.pop()
        word: Word
        if kind == "fields":
            return Field(None, tuple(written[1:].split(".")))
        if kind == "dot":
            return Field(None, ())
        if kind == "string":
            return Constant(_unquoted(written))
        if kind == "raw":
            return Constant(written[1:-1])
        if kind == "number":
            return Constant(float(written) if "." in written else int(written))
        if kind == "variable":
            word = Variable(written)
        elif kind == "name":
            known = {"true": True, "false": False, "nil": None}
            return Constant(known[written]) if written in known else Function(written)
        elif written == "(":
            word = self.pipeline(depth + 1)
            if not self._next("mark", ")"):
                raise bad(self.text, f"( is not closed in {{{{{self.inner}}}}}")
        else:
            raise bad(self.text, f"unexpected {written!r} in {{{{{self.inner}}}}}")
        # $x.Name and (…).Name: the fields follow without a blank
        if self.rest and self.rest[-1][0] == "fields" and self.inner[self.rest[-1][2] - 1] not in " \t\n":
            return Field(word, tuple(self.rest.pop()[1][1:].split(".")))
        return word

    def _next(self, kind: str, written: str) -> bool:
        if self.rest and self.rest[-1][:2] == (kind, written):
            self.rest.pop()
            return True
        return False


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1].replace('\\"', '"')
