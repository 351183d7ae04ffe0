"""The name that somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

_LIMIT = 3
_LONGEST = 64
_MOST = 1000
"""Names that are looked at; nobody means one of more."""


def nearest(word: str, names: Iterable[str]) -> str:
    """The one of *names* that differs from *word* in at most two letters, the first of the nearest; "" if none does.

    A name that equals the word means that something else is wrong: then there is nothing to suggest.

    source   BuildKit, util/suggest/error.go
    """
    best, distance = "", _LIMIT
    for name in islice(names, _MOST):
        if name == word:
            return ""
        if abs(len(name) - len(word)) < distance and len(name) <= _LONGEST:
            between = _distance(word, name)
            if between < distance:
                best, distance = name, between
    return best


def _distance(a: str, b: str) -> int:
    """How many letters must be put in, taken out or changed to make *b* of *a* (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]
