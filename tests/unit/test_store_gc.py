"""What is wanted stays; what nothing leads to goes, once it is old and nobody holds it."""

import os

import pytest
import tiny

from builder.image.documents import Manifest
from builder.image.names import Digest, Reference
from builder.store import LayerInfo, Store
from builder.store.gc import prune, reachable

A, B = Digest.of(b"a"), Digest.of(b"b")
NAME = Reference.parse("app")


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


def age(store):
    """Everything in the store was made long ago."""
    for path in store.root.rglob("*"):
        os.utime(path, (1000, 1000))


def step(store, number, parent=None):
    blob = store.blobs.write(b"layer %d" % number)
    store.layers.put(LayerInfo(snapshot=f"s{number}", parent=parent, blob=blob))
    return blob


def test_an_image_keeps_its_manifest_its_configuration_and_its_layers(store):
    descriptor = tiny.index(
        store, tiny.image(store, {"a": b"1"}), tiny.image(store, {"b": b"2"}, platform="linux/arm64")
    )
    store.images.tag(NAME, descriptor)
    lost = store.blobs.write(b"lost")
    before = set(store.blobs)
    age(store)
    pruned = prune(store)
    assert (pruned.blobs, pruned.bytes) == (1, 4)
    assert set(store.blobs) == before - {lost}


def test_an_image_that_is_kept_no_longer_goes(store):
    store.images.tag(NAME, tiny.image(store, {"a": b"1"}))
    store.images.forget(store.images.untag(NAME))
    age(store)
    prune(store)
    assert list(store.blobs) == []


def test_an_image_with_missing_parts_keeps_the_others(store):
    descriptor = tiny.image(store, {"a": b"1"}, {"b": b"2"})
    manifest = Manifest.read(store.blobs.read(descriptor.digest))
    both = tiny.index(store, descriptor, tiny.image(store, {"c": b"3"}, platform="linux/arm64"))
    store.images.tag(NAME, both)
    other = Manifest.read(store.blobs.read(tiny.image(store, {"c": b"3"}, platform="linux/arm64").digest))
    store.blobs.delete(descriptor.digest)
    wanted = reachable(store).blobs
    assert other.layers[0].digest in wanted
    assert manifest.layers[0].digest not in wanted


def test_a_record_keeps_its_snapshot_and_all_below_it(store):
    low, high, lost = step(store, 0), step(store, 1, "s0"), step(store, 2, "s0")
    store.records.put(A, B, {"snapshot": "s1"})
    age(store)
    removed = []
    pruned = prune(store, remove_snapshot=lambda name: removed.append(name) or 100)
    assert removed == ["s2"]
    assert (pruned.snapshots, pruned.blobs, pruned.bytes) == (1, 1, 107)
    assert set(store.blobs) == {low, high}
    assert lost not in set(store.blobs)
    assert store.layers.get("s2") is None


def test_snapshots_go_before_those_they_stand_on(store):
    for number in (2, 0, 3, 1):
        step(store, number, f"s{number - 1}" if number else None)
    age(store)
    removed = []
    prune(store, remove_snapshot=lambda name: removed.append(name) or 0)
    assert removed == ["s3", "s2", "s1", "s0"]


def test_without_a_way_to_remove_snapshots_their_layers_stay(store):
    blob = step(store, 1)
    age(store)
    prune(store)
    assert list(store.blobs) == [blob]
    assert store.layers.get("s1") is not None


def test_what_a_running_build_has_made_stays_with_what_it_stands_on(store):
    step(store, 0)
    age(store)
    step(store, 1, "s0")
    removed = []
    prune(store, remove_snapshot=lambda name: removed.append(name) or 0)
    assert removed == []
    assert len(list(store.blobs)) == 2


def test_records_not_used_for_long_go_first(store):
    step(store, 1)
    store.records.put(A, A, {"snapshot": "s1"})
    age(store)
    store.records.put(A, B, {})
    pruned = prune(store, unused_for=3600, remove_snapshot=lambda _: 0)
    assert (pruned.records, pruned.snapshots) == (1, 1)
    assert [record.inputs for record in store.records] == [B]


def test_all_records_go_when_asked(store):
    store.records.put(A, A, {"snapshot": "s1"})
    assert prune(store, unused_for=0).records == 1


def test_what_dead_processes_left_goes(store):
    (store.root / "tmp/dead").mkdir()
    (store.root / "tmp/dead/half").write_bytes(b"x")
    assert prune(store).leftovers == 1
    assert not (store.root / "tmp/dead").exists()


def test_what_is_new_or_held_stays(store):
    new, held = store.blobs.write(b"new"), store.blobs.write(b"held")
    os.utime(store.blobs.path(held), (0, 0))
    with store.blobs.hold(held):
        assert prune(store).blobs == 0
    assert prune(store).blobs == 1
    assert list(store.blobs) == [new]


def test_layers_that_stand_on_each_other_in_a_circle_end(store):
    store.layers.put(LayerInfo(snapshot="x", parent="y"))
    store.layers.put(LayerInfo(snapshot="y", parent="x"))
    age(store)
    assert prune(store, remove_snapshot=lambda _: 0).snapshots == 2
