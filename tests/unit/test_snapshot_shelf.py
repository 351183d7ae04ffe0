"""The shelf of snapshots: what is removed, what stays, and how often anything is looked at for that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from builder.errors import StoreError
from builder.snapshot.contract import Snapshot
from builder.snapshot.shelf import AT_ONCE, Shelf


class Counting(Shelf):
    """Counts what it reads and how often it looks through its folder."""

    def __init__(self, store: Path) -> None:
        self.reads: Counter[str] = Counter()
        self.looks = 0
        super().__init__(store, "overlay-0")

    def _read(self, snapshot_id: str) -> Snapshot | None:
        self.reads[snapshot_id] += 1
        return super()._read(snapshot_id)

    def all(self) -> list[str]:
        self.looks += 1
        return super().all()


def made(store: Path, count: int, *, depth: int = 3) -> list[str]:
    """*count* snapshots, each *depth* of them standing on one another; in the order in which they were made.

    By a shelf that is let go, as that of a process that ended.
    """
    shelf = Shelf(store, "overlay-0")
    below: Snapshot | None = None
    ids = []
    for number in range(count):
        below = shelf.finish(shelf.draft(below if number % depth else None))
        ids.append(below.id)
        shelf._let_go(below.id)
    return ids


def test_thousands_are_removed_with_one_look_at_each(tmp_path: Path) -> None:
    for number, count in enumerate((AT_ONCE, 4 * AT_ONCE)):
        store = tmp_path / str(number)
        ids = made(store, count)
        shelf = Counting(store)
        assert set(shelf.remove_all(ids[::-1])) == set(ids)
        assert set(shelf.reads.values()) == {1}  # linear: not one look for each that is removed
        assert shelf.looks == count // AT_ONCE
        assert shelf.all() == []
        assert list(shelf.drafts.iterdir()) == []


def test_what_others_stand_on_stays_with_all_below_it(tmp_path: Path) -> None:
    base, middle, top = made(tmp_path, 3)
    shelf = Counting(tmp_path)
    assert shelf.remove_all([base, middle]) == {}
    assert set(shelf.remove_all([middle, top, base])) == {top}  # middle came before what stands on it
    assert shelf.all() == sorted([base, middle])


def test_one_that_is_in_use_stays_and_the_rest_goes(tmp_path: Path) -> None:
    ids = made(tmp_path, 4, depth=1)
    user = Shelf(tmp_path, "overlay-0")
    assert user.get(ids[1]) is not None
    shelf = Counting(tmp_path)
    assert set(shelf.remove_all(ids)) == {ids[0], ids[2], ids[3]}
    with pytest.raises(StoreError, match=rf"^the snapshot {ids[1]} is in use$"):
        shelf.remove(ids[1])
    user.remove(ids[1])
    assert shelf.all() == []


def test_one_that_was_made_meanwhile_is_seen(tmp_path: Path) -> None:
    base, other = made(tmp_path, 2, depth=1)
    shelf = Counting(tmp_path)
    shelf.remove(other)
    builder = Shelf(tmp_path, "overlay-0")
    below = builder.get(base)
    assert below is not None
    top = builder.finish(builder.draft(below))
    builder._let_go(base)  # as if its process had ended
    with pytest.raises(StoreError, match=rf"^the snapshot {top.id} stands on {base}$"):
        shelf.remove(base)
    builder.remove(top.id)
    shelf.remove(base)
    assert shelf.all() == []


def test_one_that_is_not_there_frees_nothing(tmp_path: Path) -> None:
    shelf = Counting(tmp_path)
    assert shelf.remove("gone") == 0
    assert shelf.remove_all(["gone"]) == {"gone": 0}
