"""Records, layers, memory: small files that may be lost, and are never wrong."""

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import StoreError
from builder.image.names import Digest
from builder.store import LayerInfo, Store

A, B, C = (Digest.of(name) for name in (b"a", b"b", b"c"))


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_record_is_found_under_its_step_and_inputs(store):
    store.records.put(A, B, {"snapshot": "x", "text": "ü\udcff"})
    assert store.records.find(A, B) == {"snapshot": "x", "text": "ü\udcff"}
    assert store.records.find(A, C) is None
    assert store.records.find(B, A) is None
    assert files(store.root / "records") == [store.root / "records" / A.hex[:2] / A.hex / B.hex]


def test_a_record_is_replaced(store):
    store.records.put(A, B, {"n": 1})
    store.records.put(A, B, {"n": 2})
    assert store.records.find(A, B) == {"n": 2}


def test_siblings_come_last_used_first(store):
    for n, inputs in enumerate((A, B, C)):
        store.records.put(A, inputs, {"n": n})
    folder = store.root / "records" / A.hex[:2] / A.hex
    for age, inputs in ((30, A), (10, B), (20, C)):
        os.utime(folder / inputs.hex, (time.time() - age,) * 2)
    assert [value["n"] for _, value in store.records.siblings(A)] == [1, 2, 0]
    assert list(store.records.siblings(B)) == []


def test_a_use_is_noted_to_the_hour(store):
    store.records.put(A, B, {})
    path = files(store.root / "records")[0]
    for age, noted in ((7200, True), (600, False)):
        then = int(time.time()) - age
        os.utime(path, (then, then))
        store.records.find(A, B)
        assert (path.stat().st_mtime != then) is noted


def test_a_deleted_record_is_gone_and_its_folder_too(store):
    store.records.put(A, B, {})
    store.records.put(A, C, {})
    store.records.delete(A, B)
    assert [record.inputs for record in store.records] == [C]
    store.records.delete(A, C)
    store.records.delete(A, C)
    assert not (store.root / "records" / A.hex[:2] / A.hex).exists()


@pytest.mark.parametrize("keep", [0, 1, 8, 9, 10, -1])
def test_a_record_cut_short_by_a_power_cut_is_not_there(store, keep):
    store.records.put(A, B, {"snapshot": "x"})
    path = files(store.root / "records")[0]
    path.write_bytes(path.read_bytes()[:keep])
    assert store.records.find(A, B) is None
    assert list(store.records) == []


def test_a_record_full_of_zeros_is_not_there(store):
    store.records.put(A, B, {"snapshot": "x"})
    path = files(store.root / "records")[0]
    path.write_bytes(bytes(path.stat().st_size))
    assert store.records.find(A, B) is None


def test_a_layer_is_known_as_it_was_noted(store):
    info = LayerInfo(
        snapshot="s1",
        parent="s0",
        diff_id=A,
        blob=B,
        media_type="x",
        size=1,
        content=C,
        entries=2,
        bytes=3,
        created="t",
    )
    store.layers.put(info)
    assert store.layers.get("s1") == info
    assert isinstance(store.layers.get("s1").blob, Digest)
    assert store.layers.get("s2") is None
    assert list(store.layers) == [info]
    store.layers.delete("s1")
    assert store.layers.get("s1") is None
    assert store.layers.age("s1") == 0


def test_what_two_find_out_at_once_is_both_kept(store):
    fields = [{"diff_id": A}, {"content": B}, {"size": 5}, {"entries": 7}]
    for turn in range(20):
        threads = [
            threading.Thread(target=store.layers.update, args=(f"s{turn}",), kwargs=changes) for changes in fields
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.layers.get(f"s{turn}") == LayerInfo(snapshot=f"s{turn}", diff_id=A, content=B, size=5, entries=7)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a" * 201, "ä", "a\n"])
def test_a_snapshot_has_a_name_that_is_safe(store, name):
    with pytest.raises(StoreError, match="not a snapshot's id"):
        store.layers.get(name)


def test_what_is_remembered_is_found_again(store):
    value = {b"a/b\xff": (1, 2, "x"), "c": [None, 1.5]}
    store.remember("context /home/me", value)
    assert store.memory("context /home/me") == value
    assert store.memory("another") == {}


@pytest.mark.parametrize("keep", [0, 5, 9, 12, -1])
def test_a_memory_cut_short_is_forgotten(store, keep):
    store.remember("x", {"a": 1})
    path = files(store.root / "memory")[0]
    path.write_bytes(path.read_bytes()[:keep])
    assert store.memory("x") == {}


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_any_json_object_survives_its_seal(value):
    from builder.store.sealed import seal_json, unseal_json

    assert unseal_json(seal_json(value)) == value
