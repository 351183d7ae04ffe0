"""One pass over a word: the rules of BuildKit's ``frontend/dockerfile/shell/lex.go``, its quirks included."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypedDict

from builder.dockerfile.words_patterns import BadPattern, replace, trim_prefix, trim_suffix
from builder.errors import Place

GO_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What Go's ``unicode.IsSpace`` holds for space: not Python's set, which has U+001C to U+001F as well."""

MAX_GROWTH = 1 << 20
"""How many characters an expansion may be longer than its word: ``ENV A=$A$A`` thirty times is a gigabyte otherwise."""

MAX_DEPTH = 100
"""How deep ``${a:-${b:-…}}`` may nest."""

_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
BETWEEN_SPACES = re.compile(f"[^{GO_SPACE}]+")


class Modes(TypedDict, total=False):
    """How a word is to be read; all optional.

    escape       the escape character of the file
    raw_quotes   quotes group, and stay in the result
    raw_escapes  escape characters stay in the result
    skip_quotes  quotes are ordinary characters (the content of a here-document)
    skip_unset   a variable that is not set stays as it was written
    where        the place that an error is to name
    """

    escape: str
    raw_quotes: bool
    raw_escapes: bool
    skip_quotes: bool
    skip_unset: bool
    where: Place | None


@lru_cache(maxsize=8)
def plain_run(escape: str, skip_quotes: bool) -> re.Pattern[str]:
    """Finds the next character that means something."""
    return re.compile("[$<" + ("" if skip_quotes else "'\"") + re.escape(escape) + "]")


class Mistake(Exception):
    """What is wrong with a word, and what could be done about it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


_MISSING_BRACE = "syntax error: missing '}'"


class Lexer:
    """One pass over a word. ``pos`` only ever grows, so the time is that of the word and of what its variables hold."""

    def __init__(self, source: str, env: Mapping[str, str], escape: str, modes: Modes) -> None:
        self.source = source
        self.env = env
        self.escape = escape
        self.raw_quotes = modes.get("raw_quotes", False)
        self.skip_quotes = modes.get("skip_quotes", False)
        self.skip_unset = modes.get("skip_unset", False)
        self.raw_escapes = modes.get("raw_escapes", False)
        self.pos = 0
        self.depth = 0
        self.budget = MAX_GROWTH
        self.used: dict[str, None] = {}
        self.unset: dict[str, None] = {}
        self.pending: list[str] = []

    def _peek(self) -> str:
        return self.source[self.pos : self.pos + 1]

    def _next(self) -> str:
        char = self.source[self.pos : self.pos + 1]
        self.pos += 1
        return char

    # -- words ---------------------------------------------------------------------------------------------------

    def _end_word(self, words: list[str]) -> None:
        if word := "".join(self.pending):
            words.append(word)
        self.pending.clear()

    def _add_split(self, text: str, words: list[str]) -> None:
        at = 0
        for found in BETWEEN_SPACES.finditer(text):
            if found.start() > at:
                self._end_word(words)
            self.pending.append(found.group())
            at = found.end()
        if at < len(text):
            self._end_word(words)

    # -- reading -------------------------------------------------------------------------------------------------

    def read_until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Read to the character *stop* ("": to the end)."""
        # BuildKit's lexer has one buffer for the word it is collecting, and empties it here: inside ``${name:-…}``
        # the part of the word that stands before the variable is lost to ProcessWords. Kept, since EXPOSE shows it.
        self.pending.clear()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Mistake("substitutions are nested too deeply", f"at most {MAX_DEPTH} levels")
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        try:
            return self._read_until(stop)
        finally:
            self.raw_escapes = outer
            self.depth -= 1

    def _read_until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words: list[str] = []
        plain = self._plain_until(stop)
        while self.pos < len(self.source):
            found = plain.search(self.source, self.pos)
            end = found.start() if found else len(self.source)
            if end > self.pos:
                run = self.source[self.pos : end]
                result.append(run)
                self._add_split(run, words)
                self.pos = end
                continue
            char = self._peek()
            if char == stop:
                self.pos += 1
                self._end_word(words)
                return "".join(result), words
            if char == self.escape:
                text = self._escaped()
                self.pending.append(text)
            elif char == "$":
                text = self._dollar()
                self._add_split(text, words)
            else:
                text = self._quoted(char) if char in "'\"" else self._heredoc_marker()
                self.pending.append(text)
            result.append(text)
        if stop:
            raise Mistake(f"unexpected end of statement while looking for matching {stop}")
        self._end_word(words)
        return "".join(result), words

    def _plain_until(self, stop: str) -> re.Pattern[str]:
        if not stop:
            return plain_run(self.escape, self.skip_quotes)
        return _plain_run_before(self.escape, self.skip_quotes, stop)

    def _escaped(self) -> str:
        self.pos += 1
        return (self.escape if self.raw_escapes else "") + self._next()

    def _quoted(self, quote: str) -> str:
        self.pos += 1
        text = self._single_quoted() if quote == "'" else self._double_quoted()
        return quote + text + quote if self.raw_quotes else text

    def _single_quoted(self) -> str:
        # sh(1), "Single Quotes": the literal meaning of all characters, so that none can be escaped.
        end = self.source.find("'", self.pos)
        if end < 0:
            self.pos = len(self.source)
            raise Mistake("unexpected end of statement while looking for matching single-quote")
        text = self.source[self.pos : end]
        self.pos = end + 1
        return text

    def _double_quoted(self) -> str:
        # sh(1), "Double Quotes": the escape character quotes only $ " and itself, else it stays.
        result: list[str] = []
        special = _quoted_run(self.escape)
        while found := special.search(self.source, self.pos):
            result.append(self.source[self.pos : found.start()])
            self.pos = found.start()
            if found.group() == "$":
                result.append(self._dollar())
                continue
            self.pos += 1
            if found.group() == '"':
                return "".join(result)
            if self.raw_escapes:
                result.append(self.escape)
            if self._peek() and self._peek() in f'"${self.escape}':
                result.append(self._next())
            elif self._peek():
                result.append(self.escape)
        self.pos = len(self.source)
        raise Mistake("unexpected end of statement while looking for matching double-quote")

    def _heredoc_marker(self) -> str:
        # ``<< EOF`` is one word with ``<<EOF``: the spaces after the marker do not end it.
        start = self.pos
        self.pos += 1
        if self._peek() == "<":
            self.pos += 1
            while self._peek() and self._peek() in "\t\r ":
                self.pos += 1
        return self.source[start : self.pos]

    # -- variables -----------------------------------------------------------------------------------------------

    def _lookup(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unset if value is None else self.used)[name] = None
        return value

    def _grown(self, value: str) -> str:
        self.budget -= len(value)
        if self.budget < 0:
            raise Mistake("the expanded text is too long", f"at most {MAX_GROWTH} characters from variables")
        return value

    def _dollar(self) -> str:
        self.pos += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._lookup(name)
            if value is None:
                return "$" + name if self.skip_unset else ""
            return self._grown(value)
        self.pos += 1
        if not self._peek():
            raise Mistake(_MISSING_BRACE)
        if self._peek() in "{}:":
            raise Mistake("syntax error: bad substitution", "a literal dollar is escaped: \\$")
        name = self._name()
        return self._grown(self._substitution(name, self._next()))

    def _name(self) -> str:
        """Letters, digits and underscores; or digits alone; or one special parameter of sh(1)."""
        start = self.pos
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self.pos += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self.pos += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self.pos += 1
        return self.source[start : self.pos]

    def _substitution(self, name: str, operator: str) -> str:
        if operator == "}":
            value = self._lookup(name)
            if value is None:
                return f"${{{name}}}" if self.skip_unset else ""
            return value
        if operator == "":
            raise Mistake(_MISSING_BRACE)
        if operator == "/":
            return self._replacement(name)
        null_is_unset = operator == ":"
        if null_is_unset:
            operator = self._next()
        written = ":" + operator if null_is_unset else operator
        if (not null_is_unset and operator not in "+-?#%") or (null_is_unset and operator and operator in "#%"):
            raise Mistake(
                f"unsupported modifier ({written}) in substitution",
                "there are :- - :+ + :? ? # ## % %% / and //, as in ${name:-default}",
            )
        word = self._operand("}", bool(operator) and operator in "#%", _MISSING_BRACE)
        value = self._lookup(name)
        if value is None and self.skip_unset:
            return f"${{{name}{written}{word}}}"
        if operator in ("#", "%"):
            return self._trimmed(operator, word, value or "")
        return self._conditional(name, written, word, value)

    def _operand(self, stop: str, raw_escapes: bool, missing: str) -> str:
        try:
            return self.read_until(stop, raw_escapes)[0]
        except Mistake as error:
            if self.pos >= len(self.source) and error.hint is None:
                raise Mistake(missing) from None
            raise

    def _conditional(self, name: str, operator: str, word: str, value: str | None) -> str:
        absent = value is None or (operator[0] == ":" and value == "")
        match operator[-1]:
            case "-":
                return word if value is None or absent else value
            case "+":
                return "" if absent else word
            case "?":
                if value is None or absent:
                    reason = "unset" if value is None else "empty"
                    raise Mistake(f"{name}: {word or f'is not allowed to be {reason}'}")
                return value
        raise Mistake(f"unsupported modifier ({operator}) in substitution")

    def _trimmed(self, operator: str, pattern: str, value: str) -> str:
        longest = pattern.startswith(operator)
        pattern = pattern[1:] if longest else pattern
        trim = trim_prefix if operator == "#" else trim_suffix
        try:
            return trim(value, pattern, longest=longest)
        except BadPattern as error:
            raise Mistake(f"invalid pattern ({pattern}) in substitution: {error}") from None

    def _replacement(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self.pos += 1
        pattern = self._operand("/", True, "syntax error: missing '/' in ${}")
        new = self._operand("}", True, _MISSING_BRACE)
        value = self._lookup(name)
        if value is None and self.skip_unset:
            return f"${{{name}/{pattern}/{new}}}"
        try:
            return replace(value or "", pattern, new, everywhere=everywhere, limit=MAX_GROWTH)
        except BadPattern as error:
            raise Mistake(f"invalid pattern ({pattern}) in substitution: {error}") from None


@lru_cache(maxsize=16)
def _plain_run_before(escape: str, skip_quotes: bool, stop: str) -> re.Pattern[str]:
    return re.compile("[$<" + ("" if skip_quotes else "'\"") + re.escape(escape) + re.escape(stop) + "]")


@lru_cache(maxsize=8)
def _quoted_run(escape: str) -> re.Pattern[str]:
    return re.compile('["$' + re.escape(escape) + "]")
