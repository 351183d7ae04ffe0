"""The bytes of archives and layouts, and that outputs appear whole or not at all."""

import errno
import json
import os
import tarfile
import threading

import pytest
import tiny

from builder.errors import HostError, ImageError
from builder.export import destination
from builder.export.archive import write_archive
from builder.export.destination import explaining, writing
from builder.export.layout import write_layout, write_layout_folder
from builder.image.names import Digest
from builder.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


@pytest.fixture
def image(store):
    return tiny.image(store, {"a": b"1"}, {"b": b"2"}, {"a": b"1"})


def members(path):
    with tarfile.open(path) as tar:
        return {info.name: info for info in tar}


def content(path, name):
    with tarfile.open(path) as tar:
        return json.load(tar.extractfile(name))


def test_an_archive_is_an_oci_layout_and_a_docker_archive(store, image, tmp_path):
    path = tmp_path / "x.tar"
    size = write_archive([tiny.named(store, image, "app:1", "example.com/team/app:2")], path)
    assert size == path.stat().st_size
    assert size % 10240 == 0
    found = members(path)
    assert list(found)[:5] == ["manifest.json", "oci-layout", "index.json", "blobs", "blobs/sha256"]
    assert sorted(found)[2:-3] == sorted(f"blobs/sha256/{digest.hex}" for digest in store.blobs)
    assert {(info.uid, info.gid, info.mtime, info.uname) for info in found.values()} == {(0, 0, 0, "")}
    (entry,) = content(path, "manifest.json")
    assert entry["RepoTags"] == ["app:1", "example.com/team/app:2"]
    assert [entry["Config"], *entry["Layers"]] == [
        name for name in [entry["Config"], *entry["Layers"]] if name in found
    ]
    assert entry["Layers"][0] == entry["Layers"][2]
    assert content(path, "oci-layout") == {"imageLayoutVersion": "1.0.0"}


def test_each_name_has_a_descriptor_annotated_as_buildkit_does(store, image, tmp_path):
    write_layout([tiny.named(store, image, "app:1", "example.com/team/app:2")], tmp_path / "x.tar")
    index = content(tmp_path / "x.tar", "index.json")
    assert [item["annotations"] for item in index["manifests"]] == [
        {"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"},
        {"io.containerd.image.name": "example.com/team/app:2", "org.opencontainers.image.ref.name": "2"},
    ]
    assert {item["digest"] for item in index["manifests"]} == {image.digest}
    assert "manifest.json" not in members(tmp_path / "x.tar")


def test_an_image_without_a_name_has_one_descriptor_and_no_tags(store, image, tmp_path):
    write_archive([tiny.named(store, image)], tmp_path / "x.tar")
    assert content(tmp_path / "x.tar", "manifest.json")[0]["RepoTags"] is None
    assert len(content(tmp_path / "x.tar", "index.json")["manifests"]) == 1


def test_the_same_image_gives_the_same_bytes(store, image, tmp_path):
    for name in ("x", "y"):
        write_archive([tiny.named(store, image, "app:1")], tmp_path / name)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_two_images_share_their_blobs(store, image, tmp_path):
    other = tiny.image(store, {"a": b"1"})
    write_archive([tiny.named(store, image, "app:1"), tiny.named(store, other, "app:2")], tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert [entry["RepoTags"] for entry in content(tmp_path / "x.tar", "manifest.json")] == [["app:1"], ["app:2"]]


def test_an_archive_for_docker_holds_one_platform(store, tmp_path):
    both = tiny.index(store, tiny.image(store, {"a": b"1"}), tiny.image(store, {"a": b"1"}, platform="linux/arm64"))
    with pytest.raises(ImageError) as caught:
        write_archive([tiny.named(store, both, "app")], tmp_path / "x.tar")
    assert caught.value.message == "a tar for docker load holds images of one platform, and this one has 2"
    assert caught.value.hint == "use type=oci, or build for one platform"
    assert not (tmp_path / "x.tar").exists()


def test_an_image_with_an_attestation_is_of_one_platform(store, tmp_path, image):
    note = tiny.image(store, {"n": b"1"})
    note = type(note)(
        media_type=note.media_type,
        digest=note.digest,
        size=note.size,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    write_archive([tiny.named(store, tiny.index(store, image, note), "app")], tmp_path / "x.tar")
    assert len(content(tmp_path / "x.tar", "manifest.json")) == 1


def test_a_layouts_folder_keeps_what_others_put_there(store, image, tmp_path):
    folder = tmp_path / "layout"
    other = tiny.image(store, {"c": b"3"})
    assert write_layout_folder([tiny.named(store, image, "app:1")], folder) > 0
    assert write_layout_folder([tiny.named(store, other, "app:2")], folder) > 0
    assert write_layout_folder([tiny.named(store, other, "app:1")], folder) == 0
    index = json.loads((folder / "index.json").read_bytes())
    assert [
        (item["annotations"]["org.opencontainers.image.ref.name"], item["digest"]) for item in index["manifests"]
    ] == [
        ("2", other.digest),
        ("1", other.digest),
    ]
    assert sorted(os.listdir(folder)) == ["blobs", "index.json", "oci-layout"]
    for name in os.listdir(folder / "blobs/sha256"):
        assert Digest.of((folder / "blobs/sha256" / name).read_bytes()).hex == name


def test_an_image_without_a_name_is_once_in_a_layout(store, image, tmp_path):
    for _ in range(2):
        write_layout_folder([tiny.named(store, image)], tmp_path / "layout")
    assert len(json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"]) == 1


@pytest.mark.parametrize("name", ["thesis.txt", "index.json"])
def test_a_folder_that_holds_something_else_is_left_alone(store, image, tmp_path, name):
    folder = tmp_path / "layout"
    folder.mkdir()
    (folder / name).write_text("x")
    with pytest.raises(ImageError) as caught:
        write_layout_folder([tiny.named(store, image)], folder)
    assert caught.value.code == "not-a-layout"
    assert os.listdir(folder) == [name]


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_blob_that_is_not_what_it_must_be_leaves_no_output(store, image, tmp_path, damage):
    layer = max(store.blobs, key=store.blobs.size)
    path = store.blobs.path(layer)
    path.unlink()
    if damage == "short":
        path.write_bytes(b"x")
    (tmp_path / "out").mkdir()
    for write in (write_archive, write_layout):
        with pytest.raises(ImageError) as caught:
            write([tiny.named(store, image, "app")], tmp_path / "out/x.tar")
        assert caught.value.code in ("missing-blob", "size-mismatch")
        assert os.listdir(tmp_path / "out") == []
    with pytest.raises(ImageError):
        write_layout_folder([tiny.named(store, image, "app")], tmp_path / "out/layout")
    assert os.listdir(tmp_path / "out") == []


def test_a_pipe_takes_an_archive(store, image, tmp_path):
    images = [tiny.named(store, image, "app")]
    write_archive(images, tmp_path / "x.tar")
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=write_archive, args=(images, tmp_path / "pipe"))
    thread.start()
    data = (tmp_path / "pipe").read_bytes()
    thread.join()
    assert data == (tmp_path / "x.tar").read_bytes()
    assert (tmp_path / "pipe").is_fifo()


def test_progress_counts_every_byte_of_the_blobs(store, image, tmp_path):
    total = sum(map(store.blobs.size, store.blobs))
    for write in (write_archive, write_layout, write_layout_folder):
        told = []
        write([tiny.named(store, image, "app")], tmp_path / write.__name__, report=told.append)
        assert sum(told) == total


def test_an_output_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new/x"
    with writing(path) as fd:
        os.write(fd, b"hello")
        assert os.listdir(tmp_path / "new") == []
    assert path.read_bytes() == b"hello"
    assert os.listdir(tmp_path / "new") == ["x"]


def test_an_output_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail():
        with writing(path) as fd:
            os.write(fd, b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_whoever_is_killed_while_writing_leaves_nothing(store, image, tmp_path):
    child = os.fork()
    if child == 0:
        write_archive([tiny.named(store, image)], tmp_path / "x.tar", report=lambda _: os.kill(os.getpid(), 9))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert os.listdir(tmp_path) == ["store"]


@pytest.mark.parametrize("fail", [False, True])
def test_where_files_need_names_an_output_still_appears_whole(tmp_path, monkeypatch, fail):
    really = os.open

    def without_tmpfile(path, flags, *args, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return really(path, flags, *args, **more)

    monkeypatch.setattr(destination.os, "open", without_tmpfile)
    try:
        with writing(tmp_path / "x") as fd:
            os.write(fd, b"hello")
            assert len(os.listdir(tmp_path)) == 1
            if fail:
                raise ValueError
    except ValueError:
        assert os.listdir(tmp_path) == []
    else:
        assert os.listdir(tmp_path) == ["x"]


def test_an_output_has_the_permissions_that_new_files_have(tmp_path):
    before = os.umask(0o027)
    try:
        with writing(tmp_path / "x"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_what_a_link_names_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "link").symlink_to("x")
    with writing(tmp_path / "link") as fd:
        os.write(fd, b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "x").read_bytes() == b"new"


def test_a_folder_is_no_destination_for_a_file(tmp_path):
    with pytest.raises(HostError) as caught, writing(tmp_path):
        pass
    assert caught.value.message == f"the destination {tmp_path} is a folder"
    assert caught.value.code == "output-is-folder"


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError) as caught, writing(tmp_path / "file/x"):
        pass
    assert caught.value.message == f"cannot write {tmp_path}/file/x: Not a directory"
    assert caught.value.code == "output-unwritable"


def test_a_reader_that_goes_away_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.write(writer := os.open(tmp_path / "pipe", os.O_WRONLY), b"")
    os.close(reader)
    with pytest.raises(HostError) as caught, explaining(tmp_path / "pipe"):
        os.write(writer, b"x")
    os.close(writer)
    assert caught.value.message == f"whoever read {tmp_path}/pipe went away before the end"


def test_a_full_disk_is_told():
    with pytest.raises(HostError) as caught, writing("/dev/full") as fd:
        os.write(fd, b"x")
    assert caught.value.message == "no space left while writing /dev/full"
    assert caught.value.code == "disk-full"


@pytest.mark.parametrize("refused", ["copy_file_range", "copy_file_range sendfile"])
def test_bytes_arrive_whatever_the_kernel_refuses(tmp_path, monkeypatch, refused):
    def refuse(*_):
        raise OSError(errno.EXDEV, "no")

    for name in refused.split():
        monkeypatch.setattr(os, name, refuse)
    data = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(data)
    with writing(tmp_path / "b") as fd:
        destination.copy_file(tmp_path / "a", fd, len(data))
    assert (tmp_path / "b").read_bytes() == data
