"""Blobs: written once, verified, never changed."""

import errno
import os

import pytest

from builder.errors import ImageError, StoreError
from builder.image.names import Digest
from builder.store import Store, atomic


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


def leftovers(store):
    return [path for path in (store.root / "tmp").rglob("*") if path.is_file()]


def test_a_blob_lies_where_a_layout_would_hold_it(store):
    digest = store.blobs.write(b"hello")
    assert digest == Digest.of(b"hello")
    assert store.blobs.path(digest) == store.root / "blobs/sha256" / digest.hex
    assert store.blobs.path(digest).stat().st_mode & 0o777 == 0o444
    assert store.blobs.read(digest) == b"hello"
    assert store.blobs.size(digest) == 5
    assert store.blobs.has(digest)
    assert list(store.blobs) == [digest]


def test_a_blob_that_lost_its_end_is_not_there_in_its_length(store):
    digest = store.blobs.write(b"hello")
    assert store.blobs.has(digest, 5)
    store.blobs.path(digest).chmod(0o644)
    store.blobs.path(digest).write_bytes(b"hell")
    assert not store.blobs.has(digest, 5)
    assert store.blobs.write(b"hello") == digest
    assert store.blobs.has(digest, 5)


def test_a_blob_may_be_written_in_pieces(store):
    with store.blobs.writer() as out:
        assert out.write(b"hel") == 3
        out.write(memoryview(b"lo"))
        assert out.size == 5
        digest = out.commit()
    with store.blobs.open(digest) as file:
        assert file.read() == b"hello"
    assert leftovers(store) == []


def test_another_algorithm_is_kept_apart(store):
    import hashlib

    digest = Digest.parse("sha512:" + hashlib.sha512(b"x").hexdigest())
    with store.blobs.writer(digest) as out:
        out.write(b"x")
        assert out.commit() == digest
    assert store.blobs.read(digest) == b"x"


def test_what_is_not_committed_is_not_there(store):
    with store.blobs.writer() as out:
        out.write(b"hello")
    assert not store.blobs.has(Digest.of(b"hello"))
    assert leftovers(store) == []


def test_content_that_is_not_what_was_announced_is_refused(store):
    with store.blobs.writer(Digest.of(b"a")) as out:
        out.write(b"b")
        with pytest.raises(ImageError) as caught:
            out.commit()
    assert caught.value.message == f"expected {Digest.of(b'a')}, but the content is {Digest.of(b'b')}"
    assert caught.value.code == "digest-mismatch"
    assert list(store.blobs) == []


def test_more_than_was_announced_is_refused_at_once(store):
    with store.blobs.writer(size=3) as out, pytest.raises(ImageError, match="a blob has 4 or more bytes, not 3"):
        out.write(b"1234")


def test_less_than_was_announced_is_refused(store):
    with store.blobs.writer(size=3) as out:
        out.write(b"12")
        with pytest.raises(ImageError, match="a blob has 2 bytes, not 3"):
            out.commit()


def test_a_damaged_blob_is_told_with_what_to_do(store):
    digest = store.blobs.write(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"jello")
    for look in (store.blobs.read, store.blobs.verify):
        with pytest.raises(StoreError) as caught:
            look(digest)
        assert caught.value.message == f"the store is damaged: {path} does not hold what its name says"
        assert caught.value.hint == f"remove that file, then build or pull again: rm -f {path}"
        assert caught.value.code == "corrupt-blob"


def test_a_blob_cut_short_is_written_again(store):
    digest = store.blobs.write(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"")
    store.blobs.write(b"hello")
    assert store.blobs.verify(digest) == 5


def test_a_missing_blob_is_told(store):
    digest = Digest.of(b"hello")
    for look in (store.blobs.read, store.blobs.size, store.blobs.open, store.blobs.verify):
        with pytest.raises(StoreError) as caught:
            look(digest)
        assert caught.value.message == f"{digest} is not in the store"
        assert caught.value.code == "missing-blob"
    assert store.blobs.delete(digest) == 0
    assert not store.blobs.touch(digest)
    with store.blobs.hold(digest) as held:
        assert not held


def test_a_document_that_is_too_large_is_not_read(store):
    digest = store.blobs.write(b"hello")
    with pytest.raises(ImageError, match="has 5 bytes, more than 4"):
        store.blobs.read(digest, limit=4)


def test_a_full_disk_is_told_by_name(store, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        store.blobs.write(b"hello")
    path = store.blobs.path(Digest.of(b"hello"))
    assert caught.value.message == f"no space left while writing {path}"
    assert caught.value.code == "disk-full"
    assert "pybuild prune" in caught.value.hint
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "store-unwritable"),
        (errno.EACCES, "store-unwritable"),
        (errno.EIO, "store-io"),
    ],
)
def test_errors_of_the_system_are_told_apart(tmp_path, number, code):
    assert atomic.explained(OSError(number, os.strerror(number)), tmp_path).code == code


def test_what_a_process_holds_is_not_collected(store):
    digest = store.blobs.write(b"hello")
    os.utime(store.blobs.path(digest), (0, 0))
    with store.blobs.hold(digest) as held:
        assert held
        assert store.blobs.delete_unwanted(digest, before=1) is None
    assert store.blobs.delete_unwanted(digest, before=1) == 5
    assert not store.blobs.has(digest)


def test_what_was_wanted_lately_is_not_collected(store):
    digest = store.blobs.write(b"hello")
    os.utime(store.blobs.path(digest), (0, 0))
    assert store.blobs.touch(digest)
    assert store.blobs.delete_unwanted(digest, before=1) is None


def test_writing_the_same_again_counts_as_wanting_it(store):
    digest = store.blobs.write(b"hello")
    os.utime(store.blobs.path(digest), (0, 0))
    with store.blobs.writer() as out:
        out.write(b"hello")
        out.commit()
    assert store.blobs.delete_unwanted(digest, before=1) is None
