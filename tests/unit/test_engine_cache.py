"""Looking steps up: the same identities, the same contents, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engine.cache import MOST_SIBLINGS, Cache, Key
from builder.image.names import Digest
from builder.store import LayerInfo, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


def key(*inputs: str, step: str = "RUN make") -> Key:
    return Key(step=Digest.of(step.encode()), parts={"argv": [step]}, inputs=inputs)


def never(old: str, new: str) -> bool:
    raise AssertionError(f"{old} and {new} need not be compared")


def test_a_result_is_found_by_its_step_and_identities(store: Store) -> None:
    cache = Cache(store, lambda _: True)
    cache.record(key("root:a", "files:1"), "made")
    assert cache.find(key("root:a", "files:1")) == "made"
    assert cache.find(key("root:b", "files:1")) is None
    assert cache.find(key("files:1", "root:a")) is None
    assert cache.find(key("root:a")) is None
    assert cache.find(key("root:a", "files:1", step="RUN true")) is None


def test_identities_are_framed() -> None:
    assert key("root:a", "b").exact != key("root:", "ab").exact
    assert key("root:a", "").exact != key("root:a").exact
    assert key("root:a", "x").content == key("root:b", "x").content
    assert key("root:a", "x").content != key("root:a", "y").content


def test_a_result_that_is_gone_is_not_found(store: Store) -> None:
    Cache(store).record(key("root:a"), "made")
    assert Cache(store).find(key("root:a")) is None
    store.layers.put(LayerInfo(snapshot="made"))
    assert Cache(store).find(key("root:a")) == "made"
    assert Cache(store, lambda _: False).find(key("root:a")) is None


def test_contents_are_compared_where_identities_differ_and_only_there(store: Store) -> None:
    cache = Cache(store, lambda _: True)
    cache.record(key("root:old", "files:1"), "made")
    asked = []

    def same(old: str, new: str) -> bool:
        asked.append((old, new))
        return (old, new) == ("root:old", "root:new")

    assert cache.find_equal(key("root:new", "files:1"), same) == "made"
    assert asked == [("root:old", "root:new")]
    # From now on it is known by its own identities.
    assert cache.find(key("root:new", "files:1")) == "made"
    assert cache.find_equal(key("root:other", "files:1"), same) is None
    assert cache.find_equal(key("root:new", "files:2"), same) is None


def test_without_an_earlier_result_nothing_is_compared(store: Store) -> None:
    cache = Cache(store, lambda _: False)
    assert cache.find_equal(key("root:new"), never) is None
    cache.record(key("root:old"), "gone")
    assert cache.find_equal(key("root:new"), never) is None
    cache.record(key("root:old", "files:1"), "other number of inputs")
    assert Cache(store, lambda name: name != "gone").find_equal(key("root:new"), never) is None


def test_only_so_many_earlier_results_are_compared(store: Store) -> None:
    cache = Cache(store, lambda _: True)
    for number in range(MOST_SIBLINGS * 2):
        cache.record(key(f"root:{number}"), f"made {number}")
    asked: list[str] = []
    assert cache.find_equal(key("root:new"), lambda old, new: bool(asked.append(old))) is None
    assert len(asked) == MOST_SIBLINGS


@pytest.mark.parametrize("record", [{}, {"snapshot": 1}, {"snapshot": "x", "inputs": "root:a"}, {"snapshot": "x"}])
def test_a_record_that_says_something_else_is_no_result(store: Store, record: dict[str, object]) -> None:
    one = key("root:a")
    store.records.put(one.step, key("root:b").exact, record)
    assert Cache(store, lambda _: True).find_equal(one, never) is None
