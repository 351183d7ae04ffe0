"""``.dockerignore``: which paths of a context are left out.

Source: github.com/moby/patternmatcher (``ignorefile.ReadAll``, ``MatchesUsingParentResults``), and fsutil's
``filter.go``, which walks the context by them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from builder.dockerfile.ignore_index import Index
from builder.dockerfile.ignore_patterns import EXACT, PREFIX, SUFFIX, BadPattern, Pattern, clean, compile_pattern
from builder.dockerfile.source import SourceFile, Span
from builder.dockerfile.words import GO_SPACE
from builder.errors import DockerfileError

MAX_PATTERNS = 10_000
_MAX_CHARACTERS = 1 << 20


class Decision(NamedTuple):
    """Whether a path is left out, and the pattern that had the last word.

    line, pattern  its line in the file, counted from 1, and its text; 0 and "" where no pattern matched
    """

    ignored: bool
    line: int = 0
    pattern: str = ""


_KEPT = Decision(False)

_FEW = 64
"""So many patterns are tried one after the other: an index would take longer."""

# By the number of its run, the pattern that matched the folder or one above it.
_State = dict[int, Pattern]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring patterns that are all ``!`` or all not: between them the order means nothing."""

    negated: bool
    patterns: tuple[Pattern, ...]
    exact: frozenset[str]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    others: tuple[Pattern, ...]

    def find(self, path: str) -> Pattern | None:
        """The first pattern that matches the path."""
        if (
            path in self.exact
            or path.startswith(self.prefixes)
            or path.endswith(self.suffixes)
            or any(pattern.matches(path) for pattern in self.others)
        ):
            return first_match(self.patterns, path)
        return None


def first_match(patterns: Iterable[Pattern], path: str) -> Pattern | None:
    """The first of *patterns* that matches *path*."""
    return next((pattern for pattern in patterns if pattern.matches(path)), None)


class IgnoreFile:
    """The patterns of a ``.dockerignore``, or of ``--exclude``.

    Paths are relative to the context, separated by ``/``, and clean. The last pattern that matches a path or a folder
    above it decides. The folders that were asked about are remembered, so ask for a tree's paths of one object.

    name            of the file, as people know it; "" for patterns that are in none
    has_exceptions  whether a pattern begins with ``!``
    """

    def __init__(self, patterns: Iterable[Pattern], name: str = "") -> None:
        self.name = name
        self.patterns = tuple(patterns)
        self.has_exceptions = any(pattern.negated for pattern in self.patterns)
        self._runs = _runs(self.patterns)
        self._index = Index([run.patterns for run in self._runs]) if len(self.patterns) > _FEW else None
        self._states: dict[str, tuple[Decision, _State]] = {"": (_KEPT, {})}
        exceptions = [pattern.text for pattern in self.patterns if pattern.negated]
        self._exceptions = sorted(_without_final_glob(text) + "/" for text in exceptions)
        self._plain_exceptions = not any(c in text for text in self._exceptions for c in "*[]?^\\")

    @classmethod
    def parse(cls, text: str, name: str = ".dockerignore") -> IgnoreFile:
        """Read a file's text.

        raises  DockerfileError ``bad-ignore-pattern``, ``ignore-file-too-large``
        """
        lines = text.removeprefix("\ufeff").split("\n")
        file = SourceFile(name, tuple(lines))
        if len(text) > _MAX_CHARACTERS:
            raise DockerfileError(
                f"the file has more than {_MAX_CHARACTERS} characters",
                code="ignore-file-too-large",
                where=Span(SourceFile(name, ()), 0, 0, 0, 0),
            )
        patterns: list[Pattern] = []
        for number, line in enumerate(lines, 1):
            if (written := _normalized(line)) is None:
                continue
            where = Span(file, number, 0, number, len(line.rstrip()))
            patterns += _compiled(written, number, where)
            if len(patterns) > MAX_PATTERNS:
                raise DockerfileError(f"more than {MAX_PATTERNS} patterns", code="ignore-file-too-large", where=where)
        return cls(patterns, name)

    @classmethod
    def of(cls, patterns: Iterable[str], where: Span | None = None) -> IgnoreFile:
        """Patterns that are in no file (``--exclude``).

        raises  DockerfileError ``bad-ignore-pattern``
        """
        return cls([found for pattern in patterns for found in _compiled(pattern, 0, where)])

    def decide(self, path: str) -> Decision:
        """Whether *path* is left out; a folder's children are asked about each for itself."""
        folder = path.rpartition("/")[0]
        state = self._states.get(folder)
        if state is None:
            state = self._walk(folder)
        return self._match(path, state[1])[0]

    def may_take_back_below(self, folder: str) -> bool:
        """Whether a walk must enter a folder that is left out: ``*`` and ``!docs/README`` take one file back.

        Such a folder belongs to the context as soon as something in it does.
        """
        if not self.has_exceptions:
            return False
        # As fsutil has it: only where every exception is a plain path is it known what they may reach.
        if not self._plain_exceptions:
            return True
        at = bisect_left(self._exceptions, folder + "/")
        return at < len(self._exceptions) and self._exceptions[at].startswith(folder + "/")

    def _walk(self, folder: str) -> tuple[Decision, _State]:
        missing = []
        while folder not in self._states:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        found = self._states[folder]
        for below in reversed(missing):
            found = self._states[below] = self._match(below, found[1])
        return found

    def _match(self, path: str, above: _State) -> tuple[Decision, _State]:
        decision = _KEPT
        state: _State = {}
        likely = None if self._index is None else self._index.likely(path)
        for number in range(len(self._runs)) if likely is None else sorted({*above, *likely}):
            run, found = self._runs[number], above.get(number)
            # A pattern is not tried where it could change nothing. Then it counts as not matched for what is below,
            # which can differ from trying it there: so patternmatcher does it.
            if found is None and run.negated == decision.ignored:
                found = run.find(path) if likely is None else first_match(likely.get(number, ()), path)
            if found:
                state[number] = found
                decision = Decision(not run.negated, found.line, ("!" if found.negated else "") + found.text)
        return decision, state


def _runs(patterns: tuple[Pattern, ...]) -> tuple[_Run, ...]:
    groups: list[list[Pattern]] = []
    for pattern in patterns:
        if groups and groups[-1][0].negated == pattern.negated:
            groups[-1].append(pattern)
        else:
            groups.append([pattern])
    return tuple(map(_run, groups))


def _run(group: list[Pattern]) -> _Run:
    suffixes = [pattern.literal for pattern in group if pattern.kind == SUFFIX]
    return _Run(
        negated=group[0].negated,
        patterns=tuple(group),
        exact=frozenset(
            [pattern.literal for pattern in group if pattern.kind == EXACT]
            + [literal[1:] for literal in suffixes if literal.startswith("/")]
        ),
        prefixes=tuple(pattern.literal for pattern in group if pattern.kind == PREFIX),
        suffixes=tuple(suffixes),
        others=tuple(pattern for pattern in group if pattern.regex),
    )


def _normalized(line: str) -> str | None:
    """A line as ``ignorefile.ReadAll`` gives it; None for comments and empty lines."""
    # A comment begins in the first column; spaces before the "#" make it a pattern.
    if line.startswith("#") or not (text := line.strip(GO_SPACE)):
        return None
    negated = text.startswith("!")
    if negated:
        text = text[1:].strip(GO_SPACE)
    if text:
        text = clean(text)
        if len(text) > 1 and text.startswith("/"):
            text = text[1:]
    return "!" + text if negated else text


def _compiled(pattern: str, line: int, where: Span | None) -> list[Pattern]:
    """One pattern as ``patternmatcher.New`` takes it, or none."""
    text = pattern.strip(GO_SPACE)
    if not text:
        return []
    text = clean(text)
    negated = text.startswith("!")
    if text == "!":
        raise DockerfileError('illegal exclusion pattern: "!"', code="bad-ignore-pattern", where=where)
    if len(text) > 4096:
        raise DockerfileError("the pattern is too long", code="bad-ignore-pattern", where=where)
    try:
        return [compile_pattern(text[1:] if negated else text, negated, line)]
    except BadPattern as error:
        raise DockerfileError(
            f"syntax error in pattern: {error}",
            code="bad-ignore-pattern",
            where=where,
            hint="a backslash before a character takes its meaning away: \\[",
        ) from None


def _without_final_glob(text: str) -> str:
    return text.removesuffix("/**").removesuffix("/*")
