"""Which of very many patterns may match a path, without trying them all.

What a pattern has between its wildcards a path must have, too. Of each pattern the three characters in a row that are
in the fewest of the others are looked for in the path; a path has no more of these than it has characters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from builder.dockerfile.ignore_patterns import EXACT, Pattern

_SIZE = 3

_Place = tuple[int, int]
"""The number of a run, and of a pattern in it."""


class Index:
    """The patterns of some runs, by what is in them."""

    def __init__(self, runs: Sequence[Sequence[Pattern]]) -> None:
        self._runs = runs
        self._exact: dict[str, list[_Place]] = defaultdict(list)
        self._pieces: dict[str, list[_Place]] = defaultdict(list)
        self._any: list[_Place] = []  # nothing is known of what they match
        pieces: dict[_Place, frozenset[str]] = {}
        for number, run in enumerate(runs):
            for position, pattern in enumerate(run):
                place = (number, position)
                if pattern.kind == EXACT:
                    self._exact[pattern.literal].append(place)
                elif found := _pieces(pattern):
                    pieces[place] = found
                else:
                    self._any.append(place)
        often = Counter(piece for found in pieces.values() for piece in found)
        for place, found in pieces.items():
            self._pieces[min(found, key=lambda piece: (often[piece], piece))].append(place)
        self._sizes = sorted({len(piece) for piece in self._pieces})

    def likely(self, path: str) -> Mapping[int, Sequence[Pattern]]:
        """By the number of their run, in order, the patterns that may match *path*; no other does."""
        found: dict[int, list[Pattern]] = {}
        for number, position in sorted(set(self._places(path))):
            found.setdefault(number, []).append(self._runs[number][position])
        return found

    def _places(self, path: str) -> Iterator[_Place]:
        yield from self._any
        yield from self._exact.get(path, ())
        for size in self._sizes:
            for at in range(len(path) - size + 1):
                yield from self._pieces.get(path[at : at + size], ())


def _pieces(pattern: Pattern) -> frozenset[str]:
    """Characters in a row that are in each path that *pattern* matches: three, or two or one where it has no more."""
    size = min(_SIZE, max(map(len, pattern.needs), default=0))
    return frozenset(text[at : at + size] for text in pattern.needs for at in range(len(text) - size + 1) if size)
