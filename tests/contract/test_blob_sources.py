"""Whatever images are read from answers alike: a layout's folder, its tar, a tar of ``docker save`` old and new."""

import io
import json
import os
import tarfile

import pytest
import tiny

from builder.errors import ImageError
from builder.export.archive import write_archive
from builder.export.layout import write_layout, write_layout_folder
from builder.image.configuration import ImageConfig
from builder.image.documents import OCI_LAYER, Descriptor, Manifest
from builder.image.names import Digest, Reference
from builder.image.views import contents
from builder.store import Store
from builder.store.layouts import OciLayout

LAYERS = {"a/": b"", "a/b": b"x" * 3_000_000}, {"c": b"1"}, {"c": b"1"}


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as found:
        yield found


def saved_the_old_way(store, descriptor, path, *names):
    """As ``docker save`` wrote it before Docker 25: plain layers in folders, the second of two equal ones a link."""
    manifest = Manifest.read(store.blobs.read(descriptor.digest))
    config = store.blobs.read(manifest.config.digest)
    layers = [f"{n}{'0' * 63}/layer.tar" for n in range(len(LAYERS))]
    with tarfile.open(path, "w") as tar:

        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        for n, (name, files) in enumerate(zip(layers, LAYERS, strict=True)):
            if n == 2:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, "../" + layers[1]
                tar.addfile(info)
            else:
                add(name, tiny.layer_tar(files))
        add("x.json", config)
        entry = {"Config": "x.json", "RepoTags": list(names) or None, "Layers": layers}
        add("manifest.json", json.dumps([entry]).encode())
        add("repositories", b"{}")


def make(kind, store, where, descriptor, *names):
    path = where / "image"
    images = [tiny.named(store, descriptor, *names)]
    if kind == "folder":
        write_layout_folder(images, path)
    elif kind == "tar":
        write_layout(images, path)
    elif kind == "docker":
        write_archive(images, path)
    else:
        saved_the_old_way(store, descriptor, path, *names)
    return OciLayout(path)


@pytest.fixture(params=["folder", "tar", "docker", "saved"])
def source(request, store, tmp_path):
    return make(request.param, store, tmp_path, tiny.image(store, *LAYERS), "app:1", "example.com/team/app:2")


def test_the_image_is_found_by_each_of_its_names(source):
    found = source.resolve("1")
    for name in (
        None,
        "",
        "2",
        "app:1",
        "docker.io/library/app:1",
        "example.com/team/app:2",
        found.digest,
        f"@{found.digest}",
    ):
        assert source.resolve(name).digest == found.digest
    names = (Reference.parse("app:1"), Reference.parse("example.com/team/app:2"))
    assert [(item.digest, names) for item, names in source.images] == [(found.digest, names)]


def test_every_blob_can_be_read_and_is_what_it_must_be(source):
    descriptor = source.resolve()
    manifest = Manifest.read(source.read(descriptor))
    config = ImageConfig.read(source.read(manifest.config))
    assert config.config.cmd == ("/hello",)
    assert len(contents(descriptor, source.read)) == 4
    for layer, diff_id, files in zip(manifest.layers, config.diff_ids, LAYERS, strict=True):
        with source.open(layer) as stream:
            data = b"".join(iter(lambda: stream.read(70_001), b""))
        assert Digest.of(data) == layer.digest
        assert len(data) == layer.size
        plain = tiny.layer_tar(files)
        assert Digest.of(plain) == diff_id
        assert (layer.media_type == OCI_LAYER) is (data == plain)


def test_a_name_that_is_not_there_is_told_with_those_that_are(source):
    with pytest.raises(ImageError) as caught:
        source.resolve("3")
    assert caught.value.message == f"{source.path} has no image called '3'"
    assert caught.value.hint == "it has: docker.io/library/app:1, example.com/team/app:2"
    assert caught.value.code == "no-such-image"


def test_a_digest_that_is_not_there_is_told(source):
    with pytest.raises(ImageError, match=f"has no image with the digest {Digest.of(b'')}"):
        source.resolve(Digest.of(b""))


def test_a_blob_that_is_not_there_is_told(source):
    wanted = Descriptor(media_type=OCI_LAYER, digest=Digest.of(b"?"), size=1)
    for look in (source.read, source.open):
        with pytest.raises(ImageError) as caught:
            look(wanted)
        assert caught.value.message == f"{source.path} does not hold {wanted.digest}"
        assert caught.value.code == "missing-blob"


@pytest.mark.parametrize(("change", "message"), [(-1, "or more bytes, not"), (1, "bytes, not")])
def test_a_blob_of_another_size_is_refused(source, change, message):
    layer = Manifest.read(source.read(source.resolve())).layers[0]
    lie = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size + change)
    with source.open(lie) as stream, pytest.raises(ImageError, match=message) as caught:
        stream.read()
    assert caught.value.code == "size-mismatch"


def test_a_source_keeps_nothing_open(source):
    before = len(os.listdir("/proc/self/fd"))
    with source.open(Manifest.read(source.read(source.resolve())).layers[0]) as stream:
        stream.read(1)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", ["folder", "tar", "docker"])
def test_damage_is_noticed_with_the_last_byte(kind, store, tmp_path):
    source = make(kind, store, tmp_path, tiny.image(store, {"a": os.urandom(3000)}, kind="uncompressed"), "app:1")
    layer = Manifest.read(source.read(source.resolve())).layers[0]
    path = source.path / "blobs/sha256" / layer.digest.hex if kind == "folder" else source.path
    data = path.read_bytes()
    with source.open(layer) as stream:
        start = data.index(stream.read(512))
    path.write_bytes(data[: start + 600] + b"?" + data[start + 601 :])
    with source.open(layer) as stream, pytest.raises(ImageError) as caught:
        stream.read(layer.size)
    assert caught.value.message == f"the content of {layer.digest} is another"
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_an_image_of_several_platforms_is_an_index_whose_parts_are_found(kind, store, tmp_path):
    parts = [tiny.image(store, {"a": b"1"}, platform=f"linux/{name}") for name in ("amd64", "arm64")]
    root = tiny.index(store, *parts)
    source = make(kind, store, tmp_path, tiny.index(store, root), "app:1")
    assert [source.resolve(item.digest).digest for item in (root, *parts)] == [item.digest for item in (root, *parts)]


def test_manifests_that_only_their_platforms_tell_apart_are_an_index(store, tmp_path):
    parts = [tiny.image(store, {"a": b"1"}, platform=f"linux/{name}") for name in ("amd64", "arm64")]
    write_layout_folder([tiny.named(store, part) for part in parts], tmp_path / "image")
    source = OciLayout(tmp_path / "image")
    found = source.resolve()
    assert found.media_type.endswith("image.index.v1+json")
    assert [item.digest for item in contents(found, source.read) if item.platform] == [item.digest for item in parts]


def test_without_a_name_the_latest_of_several_is_taken(store, tmp_path):
    images = [tiny.named(store, tiny.image(store, {"a": name.encode()}), f"app:{name}") for name in ("1", "latest")]
    write_layout_folder(images, tmp_path / "image")
    assert OciLayout(tmp_path / "image").resolve().digest == images[1].files.descriptor.digest


def test_without_a_name_and_without_a_latest_the_names_are_told(store, tmp_path):
    images = [tiny.named(store, tiny.image(store, {"a": name.encode()}), f"app:{name}") for name in ("1", "2")]
    write_layout_folder(images, tmp_path / "image")
    with pytest.raises(ImageError) as caught:
        OciLayout(tmp_path / "image").resolve()
    assert caught.value.message == f"{tmp_path}/image has no image called 'latest', and no name was given"
    assert caught.value.hint == "it has: docker.io/library/app:1, docker.io/library/app:2"


def archive(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def saved(**entry):
    return {"manifest.json": json.dumps([entry]).encode(), "c.json": b"{}"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "{path} holds no image: neither index.json nor manifest.json is in it"),
        ({"manifest.json": b"{"}, "{path} is not a tar of docker save: manifest.json is not JSON: Expecting"),
        ({"manifest.json": b"{}"}, "{path} is not a tar of docker save: manifest.json is not a list of objects"),
        (saved(), "{path} is not a tar of docker save: manifest.json names no Config, or its Layers"),
        (saved(Config="c.json", Layers=[1]), "{path} is not a tar of docker save: manifest.json names no Config, or"),
        (saved(Config="c.json", Layers=5), "{path} is not a tar of docker save: manifest.json names no Config, or"),
        (saved(Config="d.json", Layers=[]), "{path} is not a tar of docker save: it lacks d.json"),
        (saved(Config="c.json", Layers=["x"]), "{path} is not a tar of docker save: it lacks x"),
        ({"oci-layout": b"{}", "index.json": b"{}"}, "index.json is not of schema version 2"),
    ],
)
def test_an_archive_that_holds_no_image_is_told(tmp_path, members, message):
    path = archive(tmp_path / "x.tar", members)
    with pytest.raises(ImageError) as caught:
        OciLayout(path)
    assert caught.value.message.startswith(message.format(path=path))


@pytest.mark.parametrize("data", [b"", b"x" * 5000, b"\x1f\x8b" + bytes(600)])
def test_a_file_that_is_no_tar_is_told(tmp_path, data):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        OciLayout(path)
    assert caught.value.code == "not-a-layout"
    assert caught.value.message.startswith(f"{path} is not a tar: ")


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 5 << 30
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    os.truncate(path, 6 << 30)
    with pytest.raises(ImageError, match="is not a tar: a header of"):
        OciLayout(path)


def test_links_that_lead_nowhere_or_in_circles_are_told(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, target in (("manifest.json", "b"), ("b", "manifest.json"), ("c", "/etc/passwd")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    with pytest.raises(ImageError, match="holds no image"):
        OciLayout(path)


def test_a_place_without_a_layout_is_told(tmp_path):
    with pytest.raises(ImageError) as caught:
        OciLayout(tmp_path / "nowhere")
    assert caught.value.message == f"cannot read {tmp_path}/nowhere: No such file or directory"
    with pytest.raises(ImageError) as caught:
        OciLayout(tmp_path)
    assert caught.value.message == f"{tmp_path} is not an OCI layout: it has no index.json"


def test_a_pipe_in_a_blobs_place_does_not_hang(store, tmp_path):
    source = make("folder", store, tmp_path, tiny.image(store, {"a": b"1"}), "app:1")
    layer = Manifest.read(source.read(source.resolve())).layers[0]
    path = source.path / "blobs/sha256" / layer.digest.hex
    path.unlink()
    os.mkfifo(path)
    with source.open(layer) as stream, pytest.raises(ImageError, match="has 0 bytes, not"):
        stream.read()


def test_pipes_in_the_place_of_a_layouts_files_keep_nobody_waiting(store, tmp_path):
    where = tmp_path / "layout"
    where.mkdir()
    os.mkfifo(where / "index.json")
    with pytest.raises(ImageError) as caught:
        OciLayout(where).resolve()
    assert caught.value.message == "index.json is not JSON: Expecting value: line 1 column 1 (char 0)"
