"""Which snapshots stand on which, read once from each: a snapshot never changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from builder.snapshot.contract import Snapshot


class Stacks:
    """What is known of the snapshots of one shelf; *read* gives one, or None where it is not to be trusted."""

    def __init__(self, read: Callable[[str], Snapshot | None]) -> None:
        self._read = read
        self._below: dict[str, tuple[str, ...]] = {}
        self._above: Counter[str] = Counter()

    def look(self, snapshot_ids: Iterable[str]) -> None:
        """*snapshot_ids* are all that there are now: the new ones are read, those that went are forgotten."""
        there = set(snapshot_ids)
        for gone in self._below.keys() - there:
            self.forget(gone)
        for new in there - self._below.keys():
            snapshot = self._read(new)
            below = snapshot.layers[:-1] if snapshot else ()
            self._below[new] = below
            self._above.update(below)

    def covers(self, snapshot_id: str) -> bool:
        """Whether any stands on it."""
        return self._above[snapshot_id] > 0

    def first_on(self, snapshot_id: str) -> str:
        """The first by name of those that stand on it."""
        return min(other for other, below in self._below.items() if snapshot_id in below)

    def forget(self, snapshot_id: str) -> None:
        """It was removed."""
        self._above.subtract(self._below.pop(snapshot_id, ()))
