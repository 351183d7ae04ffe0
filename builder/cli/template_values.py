"""What a template's words stand for, and the functions that it may call.

source   Go, text/template, "Functions"; docker/cli, templates/templates.go
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from builder.cli.template_syntax import Constant, Field, Function, Pipeline, Variable, Word, bad

__all__ = ["Open", "Scope", "bad", "evaluate", "truth", "written"]


class Open(dict[str, Any]):
    """A dictionary with any keys (labels): one that is not in it is no mistake, and is written ``<no value>``."""


class _Nothing:
    """What is not in an open dictionary."""


NOTHING = _Nothing()


@dataclass(slots=True)
class Scope:
    """What names mean at one place of a template."""

    text: str
    dot: Any
    names: dict[str, Any] = field(default_factory=dict)
    outer: Scope | None = None

    def inner(self) -> Scope:
        """A scope within: what is set there is forgotten behind it."""
        return Scope(self.text, self.dot, {}, self)

    def at(self, dot: Any) -> Scope:
        """The same with another dot."""
        self.dot = dot
        return self

    def get(self, name: str) -> Any:
        """A variable's value."""
        scope: Scope | None = self
        outermost = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            outermost, scope = scope, scope.outer
        if name == "$":
            return outermost.dot
        raise bad(self.text, f"undefined variable {name}")

    def set(self, name: str, value: Any, *, anew: bool) -> None:
        """Set a variable: here, or where it was made."""
        scope: Scope | None = self
        while not anew and scope is not None and name not in scope.names:
            scope = scope.outer
        if scope is None:
            raise bad(self.text, f"undefined variable {name}")
        scope.names[name] = value


def evaluate(pipeline: Pipeline, scope: Scope) -> Any:
    """The value of *pipeline*; sets its variables."""
    value: Any = None
    for number, command in enumerate(pipeline.commands):
        value = _command(command, scope, () if number == 0 else (value,))
    for name in pipeline.variables[-1:]:
        scope.set(name, value, anew=pipeline.anew)
    return value


def _command(words: tuple[Word, ...], scope: Scope, piped: tuple[Any, ...]) -> Any:
    first, *rest = words
    if not isinstance(first, Function):
        if rest or piped:
            raise bad(scope.text, "arguments are given to what is no function")
        return _word(first, scope)
    if first.name in ("and", "or"):
        return _logic(first.name, rest, scope, piped)
    function = FUNCTIONS.get(first.name)
    if function is None:
        raise bad(scope.text, f"function {first.name!r} not defined", "known: " + ", ".join(sorted(FUNCTIONS)))
    arguments = [*(_word(word, scope) for word in rest), *piped]
    try:
        return function(*arguments)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as e:
        raise bad(scope.text, f"error calling {first.name}: {e}") from None


def _logic(name: str, words: list[Word], scope: Scope, piped: tuple[Any, ...]) -> Any:
    """Both stop at the first value that decides."""
    value: Any = None
    for word in words:
        value = _word(word, scope)
        if truth(value) == (name == "or"):
            return value
    return piped[0] if piped else value


def _word(word: Word, scope: Scope) -> Any:
    match word:
        case Constant(value=value):
            return value
        case Variable(name=name):
            return scope.get(name)
        case Pipeline():
            return evaluate(word, scope)
        case Function():
            return _command((word,), scope, ())
        case Field(of=of, names=names):
            value = scope.dot if of is None else _word(of, scope)
            for name in names:
                value = _field(value, name, scope)
            return value


def _field(value: Any, name: str, scope: Scope) -> Any:
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        if isinstance(value, Open):
            return NOTHING
        # Only a mistake needs it.
        from difflib import get_close_matches

        near = get_close_matches(name, list(value), n=1, cutoff=0.4)
        hint = f"did you mean .{near[0]}?" if near else "there are: " + ", ".join(f".{key}" for key in value)
        raise bad(scope.text, f"there is no field .{name}", hint)
    if value is None or value is NOTHING:
        raise bad(scope.text, f"there is nothing that could have a field .{name}")
    raise bad(scope.text, f"{written(value)} has no field .{name}")


def truth(value: Any) -> bool:
    """Whether Go takes *value* for true: all but false, 0, nil and what is empty."""
    return value is not NOTHING and bool(value)


def written(value: Any) -> str:
    """*value* as Go's fmt writes it."""
    if value is NOTHING:
        return "<no value>"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{written(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(written(item) for item in value) + "]"
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(None if value is NOTHING else value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, list | tuple | str) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise IndexError(f"index out of range: {key}")
            value = value[key]
        else:
            raise TypeError(f"cannot index {written(value)}")
    return value


def _len(value: Any) -> int:
    if value is None:
        return 0
    return len(value)


def _print(*values: Any) -> str:
    # fmt.Sprint: blanks between operands when neither is a string
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += written(value)
    return out


def _printf(form: str, *values: Any) -> str:
    # Go's verbs that Python's % has not: %v and %q.
    words = [
        written(value) if isinstance(value, bool | list | tuple | Mapping) or value is None else value
        for value in values
    ]
    return form.replace("%v", "%s").replace("%q", '"%s"') % tuple(words)


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _same(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "len": _len,
    "index": _index,
    "join": lambda words, separator: separator.join(written(word) for word in words or ()),
    "split": lambda text, separator: text.split(separator),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text.title(),
    "pad": _pad,
    "truncate": _truncate,
    "print": _print,
    "println": lambda *values: " ".join(map(written, values)) + "\n",
    "printf": _printf,
    "not": lambda value: not truth(value),
    "eq": _same,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": truth,
    "or": truth,
}
