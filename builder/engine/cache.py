"""Looking steps up, and early cut-off.

A step's result is recorded under the digest of what its instruction says and the *identities* of what it was given: its
parent's snapshot and each input. An identity is exact and costs nothing: a snapshot's id, or the digest of the files
that the step selects from a context. Only where no record has the same identities, but the same instruction was
performed on others, are contents compared: a snapshot's content digest knows neither history nor times, so a command
that ran again and made the same files lets all later steps hit. It is computed once and remembered, so a build that has
nothing to compare with never computes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.image.names import Digest

if TYPE_CHECKING:
    from builder.store.store import Store

MOST_SIBLINGS = 8
"""How many records of the same instruction are compared by content at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a step's result is recorded under.

    step     digest of all that the instruction says;  parts  the same in words, for ``explain``
    inputs   identities, in the step's own order; the first is the parent's, ``root:`` and its snapshot's id
    """

    step: Digest
    parts: dict[str, object]
    inputs: tuple[str, ...]

    @property
    def exact(self) -> Digest:
        """The digest of the identities."""
        return _frame(self.inputs)

    @property
    def content(self) -> Digest:
        """What a step that only copies makes, told without reading it: its instruction and its inputs decide."""
        return _frame((self.step, *self.inputs[1:]))


def _frame(words: tuple[str, ...]) -> Digest:
    """Length-framed, so that no two different sequences have the same digest."""
    state = hashlib.sha256()
    for word in words:
        data = word.encode("utf-8", "surrogateescape")
        state.update(b"%d:" % len(data) + data)
    return Digest("sha256:" + state.hexdigest())


class Cache:
    """Records of steps' results in the store.

    holds  whether a snapshot's tree is at hand; None: it is enough that the store knows the snapshot
    """

    def __init__(self, store: Store, holds: Callable[[str], bool] | None = None) -> None:
        self._store = store
        self._holds = holds or (lambda snapshot: store.layers.get(snapshot) is not None)

    def find(self, key: Key) -> str | None:
        """The snapshot that these very inputs gave, if it is still known."""
        record = self._store.records.find(key.step, key.exact)
        return self._living(record)

    def find_equal(self, key: Key, same: Callable[[str, str], bool]) -> str | None:
        """The snapshot that inputs of the same content gave.

        same  whether two identities, an earlier build's and this one's, have the same content
        """
        for record in self._siblings(key):
            snapshot = self._living(record)
            inputs = record.get("inputs")
            if snapshot is None or not isinstance(inputs, list) or len(inputs) != len(key.inputs):
                continue
            if all(old == new or same(str(old), new) for old, new in zip(inputs, key.inputs, strict=True)):
                self.record(key, snapshot)
                return snapshot
        return None

    def _siblings(self, key: Key) -> Iterator[dict[str, object]]:
        for count, (_, record) in enumerate(self._store.records.siblings(key.step)):
            if count >= MOST_SIBLINGS:
                return
            yield record

    def record(self, key: Key, snapshot: str) -> None:
        """Remember that *key* gave *snapshot*."""
        self._store.records.put(
            key.step, key.exact, {"snapshot": snapshot, "inputs": list(key.inputs), "parts": key.parts}
        )

    def _living(self, record: dict[str, object] | None) -> str | None:
        snapshot = record.get("snapshot") if record else None
        if isinstance(snapshot, str) and self._holds(snapshot):
            return snapshot
        return None
