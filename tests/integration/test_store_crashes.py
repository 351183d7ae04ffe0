"""A process that is killed at every point where that leaves something different behind, and the store opened again.

Killed by SIGKILL, so that nothing is cleaned up; a power cut, which takes back what was not synced, is staged in
``tests/unit/test_store_records.py`` by cutting files short.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny

from builder.errors import StoreError
from builder.image.documents import OCI_MANIFEST, Descriptor
from builder.image.names import Digest, Reference
from builder.store import LayerInfo, Store, atomic
from builder.store.gc import prune

DATA = b"x" * 100_000
DIGEST = Digest.of(DATA)
NAME = Reference.parse("app")
OLD, NEW = (Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(text), size=3) for text in (b"old", b"new"))


def killed_at(point, work):
    """Whether a child that does *work* reached *point*, where it was killed."""
    child = os.fork()
    if child == 0:
        atomic.reached = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None
        # scratch has the name from its import
        sys.modules["builder.store.scratch"].reached = atomic.reached
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "store"
    with Store.open(root) as store:
        store.images.tag(NAME, OLD)
        store.records.put(DIGEST, DIGEST, {"n": "old"})
        store.layers.put(LayerInfo(snapshot="s", size=1))
    return root


def reopened(root):
    """The store after a crash: nothing of the dead process is left once somebody writes."""
    store = Store.open(root)
    store.blobs.write(b"another")
    own = list((root / "tmp").iterdir())
    assert len(own) == 1
    assert list(own[0].iterdir()) == []
    return store


@pytest.mark.parametrize("point", ["scratch-made", "blob-written", "blob-synced", "blob-renamed"])
def test_a_killed_writer_leaves_a_whole_blob_or_none(root, point):
    assert killed_at(point, lambda: Store.open(root).blobs.write(DATA))
    store = reopened(root)
    assert store.blobs.has(DIGEST) is (point == "blob-renamed")
    assert store.blobs.write(DATA) == DIGEST
    assert store.blobs.verify(DIGEST) == len(DATA)


@pytest.mark.parametrize("point", ["file-written", "file-synced", "file-renamed"])
def test_a_killed_writer_leaves_the_old_name_or_the_new(root, point):
    assert killed_at(point, lambda: Store.open(root).images.tag(NAME, NEW))
    store = reopened(root)
    assert store.images.resolve(NAME) == (NEW if point == "file-renamed" else OLD)
    store.images.tag(NAME, NEW)  # the lock died with its holder
    assert store.images.resolve(NAME) == NEW


@pytest.mark.parametrize("point", ["file-written", "file-synced", "file-renamed"])
def test_a_killed_writer_leaves_the_old_record_or_the_new(root, point):
    def work():
        Store.open(root).records.put(DIGEST, DIGEST, {"n": "new"})

    assert killed_at(point, work)
    assert reopened(root).records.find(DIGEST, DIGEST) == {"n": "new" if point == "file-renamed" else "old"}


@pytest.mark.parametrize("point", ["file-written", "file-synced", "file-renamed"])
def test_a_killed_writer_leaves_the_old_knowledge_of_a_layer_or_the_new(root, point):
    assert killed_at(point, lambda: Store.open(root).layers.update("s", size=2))
    store = reopened(root)
    assert store.layers.get("s").size == (2 if point == "file-renamed" else 1)
    assert store.layers.update("s", entries=1).entries == 1


@pytest.mark.parametrize("point", ["scratch-made", "file-written", "file-synced", "file-renamed"])
def test_a_store_whose_making_was_killed_is_completed(tmp_path, point):
    root = tmp_path / "new"
    assert killed_at(point, lambda: Store.open(root))
    assert reopened(root).blobs.write(DATA) == DIGEST


def test_a_killed_collection_is_done_again(root):
    with Store.open(root) as store:
        store.images.forget(OLD.digest)
        for number in range(5):
            store.blobs.write(b"%d" % number)
        for path in root.rglob("*"):
            os.utime(path, (1000, 1000))

    def work():
        store = Store.open(root)
        delete = store.blobs.delete_unwanted
        left = iter(range(3))

        def delete_three(digest, before):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return delete(digest, before)

        store.blobs.delete_unwanted = delete_three
        prune(store)

    assert killed_at("", work)
    with Store.open(root) as store:
        assert len(list(store.blobs)) == 2
        assert prune(store).blobs == 2


def test_a_folder_that_a_child_still_uses_is_not_removed_with_its_parent(root):
    store = Store.open(root)
    folder = store.tmp()
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        store.close()
        assert folder.is_dir()
        assert Store.open(root).scratch.sweep() == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert Store.open(root).scratch.sweep() == 1
    assert not folder.exists()


def test_a_command_that_was_started_does_not_keep_the_folder(root):
    store = Store.open(root)
    folder = store.tmp()
    with subprocess.Popen(["sleep", "30"]) as sleeper:
        store.close()
        assert not folder.exists()
        sleeper.kill()


def test_many_processes_write_one_store_at_once(root):
    script = """
import sys
from pathlib import Path
from builder.image.names import Digest, Reference
from builder.image.documents import Descriptor
from builder.store import Store
from builder.store.gc import prune
with Store.open(Path(sys.argv[1])) as store:
    for n in range(30):
        digest = store.blobs.write(b"%d" % n)
        store.images.tag(Reference.parse(f"app:{sys.argv[2]}-{n}"), Descriptor(media_type="x", digest=digest, size=1))
        store.records.put(digest, digest, {"n": n})
        assert store.blobs.read(digest) == b"%d" % n
        if n % 10 == 9:
            prune(store, grace=60)
"""
    started = [subprocess.Popen([sys.executable, "-c", script, root, str(n)]) for n in range(6)]
    assert [process.wait(60) for process in started] == [0] * 6
    with Store.open(root) as store:
        assert sum(len(image.names) for image in store.images.list()) == 6 * 30 + 1
        assert len(list(store.records)) == 31
        assert os.listdir(root / "tmp") == []


def test_a_full_disk_is_told_and_leaves_a_store_that_works(require_root, tmp_path):
    require_root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", tmp_path], check=True)
    try:
        store = Store.open(tmp_path / "store")
        with store.blobs.writer() as out, pytest.raises(StoreError) as caught:
            out.write(os.urandom(1 << 20))
        assert caught.value.code == "disk-full"
        assert caught.value.message.startswith(f"no space left while writing {tmp_path}/store/tmp/")
        assert store.blobs.write(b"small") == Digest.of(b"small")
        assert store.images.list() == ()
        store.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_store_on_a_read_only_file_system_is_refused(require_root, tmp_path):
    require_root()
    Store.open(tmp_path / "store").close()
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", tmp_path], check=True)
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path / "store")
        assert caught.value.message == f"cannot use the store {tmp_path}/store: not writable"
        assert caught.value.code == "store-unwritable"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_an_image_of_the_tests_is_sound(root):
    from builder.image.configuration import ImageConfig
    from builder.image.documents import Manifest
    from builder.image.validate import violations

    with Store.open(root) as store:
        manifest = Manifest.read(store.blobs.read(tiny.image(store, {"a": b"1"}).digest))
        assert violations(manifest, ImageConfig.read(store.blobs.read(manifest.config.digest))) == ()
