"""Quoting, escapes and ``$variables`` of a word, as BuildKit's ``frontend/dockerfile/shell/lex.go`` has them.

Three questions about one word: ``expand`` gives its text, ``expand_words`` the words it falls into once its variables
are replaced, ``examine`` both, and which variables were asked for. The text of a Dockerfile never runs a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

from builder.dockerfile.quoting import quoted
from builder.dockerfile.words_lexer import BETWEEN_SPACES, GO_SPACE, Lexer, Mistake, Modes, plain_run
from builder.errors import DockerfileError

__all__ = ["GO_SPACE", "Expansion", "Modes", "examine", "expand", "expand_words"]


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a word came to.

    words  the text split at spaces that are neither quoted nor escaped; empty words vanish
    used   variables that were set, in the order of their first use; unset  those that were not, defaults or none
    """

    text: str
    words: tuple[str, ...]
    used: tuple[str, ...]
    unset: tuple[str, ...]


def expand(word: str, env: Mapping[str, str], **modes: Unpack[Modes]) -> str:
    """The word without its quotes and escapes and with its variables replaced.

    raises  DockerfileError ``bad-substitution``, its message beginning with ``failed to process``
    """
    return examine(word, env, **modes).text


def expand_words(word: str, env: Mapping[str, str], **modes: Unpack[Modes]) -> list[str]:
    """The words that *word* falls into after its variables were replaced (EXPOSE)."""
    return list(examine(word, env, **modes).words)


def examine(word: str, env: Mapping[str, str], **modes: Unpack[Modes]) -> Expansion:
    """Text, words and variables of *word* at once."""
    escape = modes.get("escape", "\\")
    # Go's text/scanner drops a byte order mark at the start of what it reads.
    source = word[1:] if word.startswith("\ufeff") else word
    if not source.isascii():
        # It reads characters: a byte that is none comes out as U+FFFD.
        source = re.sub("[\ud800-\udfff]", "\ufffd", source)
    if not plain_run(escape, False).search(source):
        return Expansion(source, tuple(BETWEEN_SPACES.findall(source)), (), ())
    lexer = Lexer(source, env, escape, modes)
    try:
        text, words = lexer.read_until("", modes.get("raw_escapes", False))
    except Mistake as error:
        shown = word if len(word) <= 200 else word[:200] + "…"
        raise DockerfileError(
            f"failed to process {quoted(shown)}: {_one_line(str(error))}",
            code="bad-substitution",
            where=modes.get("where"),
            hint=error.hint,
        ) from None
    return Expansion(text, tuple(words), tuple(lexer.used), tuple(lexer.unset))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
