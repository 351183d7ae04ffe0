"""``--name=value``: which flags an instruction knows.

Source: BuildKit's ``instructions/bflag.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.dockerfile.instructions import Word
from builder.dockerfile.statement import Statement, nearest
from builder.dockerfile.tokens import Token
from builder.errors import DockerfileError

STRING, STRINGS, BOOL = "string", "strings", "bool"

KNOWN: Mapping[str, Mapping[str, str]] = {
    "ADD": {
        "chown": STRING,
        "chmod": STRING,
        "link": BOOL,
        "keep-git-dir": BOOL,
        "checksum": STRING,
        "unpack": BOOL,
        "exclude": STRINGS,
    },
    "COPY": {
        "from": STRING,
        "chown": STRING,
        "chmod": STRING,
        "link": BOOL,
        "parents": BOOL,
        "exclude": STRINGS,
    },
    "FROM": {"platform": STRING},
    "HEALTHCHECK": {
        "interval": STRING,
        "timeout": STRING,
        "start-period": STRING,
        "start-interval": STRING,
        "retries": STRING,
    },
    "RUN": {"mount": STRINGS, "network": STRING, "security": STRING, "device": STRINGS},
}


@dataclass(slots=True)
class Flags:
    """The values of an instruction's flags, by name."""

    strings: dict[str, Word] = field(default_factory=dict)
    lists: dict[str, list[Word]] = field(default_factory=dict)
    truths: dict[str, bool] = field(default_factory=dict)

    def string(self, name: str) -> Word | None:
        """The value; None if it is empty, which BuildKit takes for not given."""
        word = self.strings.get(name)
        return word if word and word.text else None

    def list(self, name: str) -> tuple[Word, ...]:
        """Every value of a flag that may be repeated."""
        return tuple(self.lists.get(name, ()))


def read_flags(statement: Statement) -> Flags:
    """Take the flags of a statement.

    raises  DockerfileError ``unknown-flag``, ``duplicate-flag``, ``bad-flag``; every mistake, the first with the others
    """
    known = KNOWN.get(statement.name, {})
    flags = Flags()
    mistakes: list[DockerfileError] = []
    seen: set[str] = set()
    for token in statement.flags:
        try:
            _take(flags, statement, token, known, seen)
        except DockerfileError as error:
            mistakes.append(error)
            if len(mistakes) == 10:
                break
    if mistakes:
        mistakes[0].also = tuple(mistakes[1:])
        raise mistakes[0]
    return flags


def _take(flags: Flags, statement: Statement, token: Token, known: Mapping[str, str], seen: set[str]) -> None:
    flag, equals, value = token.text.partition("=")
    name = flag[2:]
    label, content = _places(statement, token)
    kind = known.get(name)
    if kind is None:
        hint = nearest(flag, [f"--{k}" for k in known]) if known else f"{statement.name} has no flags"
        raise statement.mistake(f"unknown flag: {flag}", label, code="unknown-flag", hint=hint)
    if name in seen and kind != STRINGS:
        raise statement.mistake(f"duplicate flag specified: {flag}", label, code="duplicate-flag")
    seen.add(name)
    if kind == BOOL:
        flags.truths[name] = _truth(statement, flag, equals, value, label, content)
    elif not equals:
        raise statement.mistake(f"missing a value on flag: {flag}", label, code="bad-flag", hint=f"write {flag}=VALUE")
    elif kind == STRINGS:
        flags.lists.setdefault(name, []).append(statement.word(Token(value, content.start, content.end)))
    else:
        flags.strings[name] = statement.word(Token(value, content.start, content.end))


def _places(statement: Statement, token: Token) -> tuple[Token, Token]:
    """Where a flag's name stands, and where its value."""
    at = statement.line.text.find("=", token.start, token.end)
    if at < 0:
        return token, token
    return Token("", token.start, at), Token("", min(at + 1, token.end - 1), token.end)


def _truth(statement: Statement, flag: str, equals: str, value: str, label: Token, content: Token) -> bool:
    if equals and not value:
        raise statement.mistake(f"missing a value on flag: {flag}", label, code="bad-flag")
    if value.lower() not in ("true", "false", ""):
        raise statement.mistake(
            f"expecting boolean value for flag {flag}, not: {value}", content, code="bad-flag", hint="true or false"
        )
    return value.lower() != "false"
