"""Which records go so that the build cache takes no more than it may: the longest unused first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from builder.store.containers import Containers
from builder.store.gc import snapshots_of

if TYPE_CHECKING:
    from builder.store.records import Record
    from builder.store.store import Store


def over(candidates: Sequence[Record], keep: int, sizes: Mapping[str, int], store: Store) -> list[Record]:
    """Those of *candidates* without which the cache's entries take at most *keep* bytes.

    sizes  bytes of each entry, by snapshot; an entry goes when no record, container or other entry leads to it
    """
    parents = {info.snapshot: info.parent for info in store.layers}
    leading = Counter(parent for parent in parents.values() if parent)
    leading.update(snapshot for record in store.records for snapshot in snapshots_of(record.value))
    leading.update(container.snapshot for container in Containers(store).list())
    whole = sum(sizes.values())
    going: list[Record] = []
    for record in sorted(candidates, key=lambda record: (record.used, record.step, record.inputs)):
        if whole <= keep:
            break
        going.append(record)
        for snapshot in snapshots_of(record.value):
            current: str | None = snapshot
            while current:
                leading[current] -= 1
                if leading[current] > 0:
                    break
                whole -= sizes.get(current, 0)
                current = parents.get(current)
    return going
