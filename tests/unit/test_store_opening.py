"""Making and opening a store, and the images it names."""

import os
import threading

import pytest

from builder.errors import ImageError, StoreError
from builder.image.documents import OCI_MANIFEST, Descriptor
from builder.image.names import Digest, Reference
from builder.store import Store, atomic
from builder.store.atomic import locked


def descriptor(text):
    return Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(text.encode()), size=len(text))


A, B = descriptor("a"), descriptor("b")
ONE, TWO = Reference.parse("app:1"), Reference.parse("app:2")


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


def test_a_store_is_made_with_its_parents_and_for_its_owner_alone(tmp_path):
    store = Store.open(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/b/version").read_text() == "pybuild store 1\n"
    assert Store.open(tmp_path / "a/b").root == store.root


def test_making_a_store_may_be_interrupted_and_goes_on(tmp_path):
    root = tmp_path / "store"
    Store.open(root).blobs.write(b"x")
    (root / "version").unlink()
    (root / "locks").rmdir()
    assert Store.open(root).blobs.has(Digest.of(b"x"))


def test_a_store_that_another_makes_at_the_same_time_is_opened(tmp_path, monkeypatch):
    root, real, others = tmp_path / "store", os.listdir, []

    def late(path):
        if not others:  # between finding no version and looking at the folder
            others.append(Store)
            others.append(Store.open(root))
        return real(path)

    monkeypatch.setattr(os, "listdir", late)
    assert Store.open(root).root == others[1].root


@pytest.mark.parametrize("text", ["pybuild store 2\n", "", "x" * 1000])
def test_a_store_of_another_version_is_refused(tmp_path, text):
    Store.open(tmp_path / "store")
    (tmp_path / "store/version").write_text(text)
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / "store")
    assert caught.value.message == f"{tmp_path}/store was made by another version of pybuild, or is no store"
    assert caught.value.code == "store-version"


def test_a_folder_with_something_else_in_it_is_no_store(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path)
    assert caught.value.message == f"{tmp_path} is not empty and holds no store: thesis.txt is there"
    assert caught.value.code == "not-a-store"
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_store(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / name)
    assert caught.value.message == f"{tmp_path / name} is not a folder"
    assert caught.value.code == "not-a-store"


def test_a_store_of_another_user_is_refused(tmp_path, monkeypatch):
    Store.open(tmp_path / "store")
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(StoreError) as caught:
        Store.open(tmp_path / "store")
    assert caught.value.message == f"the store {tmp_path}/store belongs to user {own}, and you are user {own + 1}"
    assert caught.value.code == "store-owner"
    assert caught.value.hint == "choose a store of your own with --root or PYBUILD_ROOT"


def test_folders_that_are_asked_for_are_empty_and_go_with_the_store(tmp_path):
    with Store.open(tmp_path / "store") as store:
        first, second = store.tmp(), store.tmp()
        assert first != second
        assert os.listdir(first) == []
        (first / "x").write_text("x")
    assert os.listdir(store.root / "tmp") == []
    assert store.tmp().is_dir()  # it can still be used
    store.close()


def test_a_living_process_keeps_its_folder(store):
    folder = store.tmp()
    assert Store.open(store.root).scratch.sweep() == 0
    assert folder.is_dir()


def test_a_name_leads_to_its_image(store):
    store.images.tag(ONE, A)
    store.images.tag(TWO, A)
    assert store.images.resolve(ONE) == A
    assert store.images.resolve(Reference.parse("app:3")) is None
    assert [(image.descriptor, image.names) for image in store.images.list()] == [(A, (ONE, TWO))]


def test_an_image_that_loses_its_name_dangles(store):
    store.images.tag(ONE, A)
    store.images.tag(ONE, B)
    assert store.images.resolve(ONE) == B
    assert store.images.resolve(ONE.at(A.digest)) == A
    assert {image.descriptor.digest: image.names for image in store.images.list()} == {A.digest: (), B.digest: (ONE,)}
    assert store.images.untag(ONE) == B.digest
    assert store.images.untag(ONE) is None
    assert store.images.forget(B.digest)
    assert not store.images.forget(B.digest)
    assert [image.descriptor for image in store.images.list()] == [A]


def test_an_image_without_a_name_is_kept_by_its_digest(store):
    store.images.keep(A)
    assert store.images.resolve(Reference.parse(f"whatever@{A.digest}")) == A


def test_naming_the_same_again_writes_nothing(store):
    store.images.tag(ONE, A)
    path = store.root / "images.json"
    before = path.stat().st_ino
    store.images.tag(ONE, A)
    assert path.stat().st_ino == before


def test_several_names_are_one_change(store, monkeypatch):
    names = [Reference.parse(f"app:{n:04}") for n in range(1000)]
    store.images.tag_all(names[:2], B)
    written = []
    real = atomic.write
    monkeypatch.setattr(atomic, "write", lambda *given, **more: written.append(given) or real(*given, **more))
    store.images.tag_all([*names, names[7]], A)
    assert len(written) == 1
    found = {image.descriptor.digest: image.names for image in store.images.list()}
    assert found == {A.digest: tuple(names), B.digest: ()}


def test_names_given_at_once_are_all_kept(store):
    names = [Reference.parse(f"app:{n}") for n in range(16)]
    threads = [threading.Thread(target=store.images.tag, args=(name, A)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(store.images.list()[0].names) == set(names)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"images":[]}', '{"images":{"x":{}}}'])
def test_a_damaged_list_of_images_is_told(store, text):
    path = store.root / "images.json"
    path.write_text(text)
    with pytest.raises(StoreError) as caught:
        store.images.list()
    assert caught.value.message == f"the store is damaged: {path} cannot be read"
    assert caught.value.code == "corrupt-images"


def test_a_lock_excludes_others_until_it_is_dropped(store):
    order = []

    def other():
        with locked(store.lock("x")):
            order.append("other")

    with locked(store.lock("x")):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        order.append("own")
    thread.join()
    assert order == ["own", "other"]


def test_readers_share_a_lock(store):
    with locked(store.lock("x"), shared=True), locked(store.lock("x"), shared=True):
        pass


def test_a_digest_that_is_none_is_no_image(store):
    with pytest.raises(ImageError):
        store.images.resolve(Reference.parse("app@sha256:x"))
