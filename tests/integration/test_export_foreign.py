"""What we write, read by the tools that it is for; what they write, read by us."""

import json
import shutil
import subprocess

import pytest
import tiny

from builder.errors import ImageError
from builder.export.archive import write_archive
from builder.export.layout import write_layout, write_layout_folder
from builder.image.configuration import ImageConfig
from builder.image.documents import Manifest
from builder.image.names import Digest
from builder.image.views import contents
from builder.store import Store
from builder.store.layouts import OciLayout

HELLO = b"#!/bin/busybox sh\necho hello from a layer\n"
LAYERS = {"bin/": b"", "bin/busybox": tiny.busybox(), "hello": HELLO}, {"etc/": b"", "etc/x": b"1"}, {"hello": HELLO}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("foreign") / "store") as found:
        yield found


def run(*argv):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write(kind, store, path, descriptor, *names):
    images = [tiny.named(store, descriptor, *names)]
    if kind == "oci":
        write_layout_folder(images, path)
    else:
        (write_archive if kind.startswith("docker") else write_layout)(images, path)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("oci", "oci:{}:1"),
        ("oci-archive", "oci-archive:{}:1"),
        ("docker", "docker-archive:{}:app:1"),
        ("docker-oci", "oci-archive:{}:1"),
    ],
)
def test_skopeo_reads_every_form(require, store, tmp_path, kind, source, compression):
    require("skopeo")
    descriptor = tiny.image(store, *LAYERS, kind=compression)
    write(kind, store, tmp_path / "x", descriptor, "app:1")
    found = json.loads(run("skopeo", "inspect", source.format(tmp_path / "x")))
    if kind != "docker":
        assert found["Digest"] == descriptor.digest
    assert len(found["Layers"]) == 3
    run("skopeo", "--insecure-policy", "copy", source.format(tmp_path / "x"), f"dir:{tmp_path}/dir")
    manifest = json.loads((tmp_path / "dir/manifest.json").read_bytes())
    for layer in [*manifest["layers"], manifest["config"]]:
        digest = Digest.parse(layer["digest"])
        assert digest.matches((tmp_path / "dir" / digest.hex).read_bytes())


def test_umoci_unpacks_a_layout(require, require_root, store, tmp_path):
    require("umoci")
    require_root()
    write("oci", store, tmp_path / "layout", tiny.image(store, *LAYERS), "app:1")
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:1", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/hello").read_bytes() == HELLO
    assert run("umoci", "ls", "--layout", tmp_path / "layout") == "1\n"
    assert OciLayout(tmp_path / "layout").resolve("1").size > 0


def test_umoci_adds_to_a_layout_and_so_do_we_to_its_own(require, store, tmp_path):
    require("umoci")
    run("umoci", "init", "--layout", tmp_path / "layout")
    run("umoci", "new", "--image", f"{tmp_path}/layout:theirs")
    write("oci", store, tmp_path / "layout", tiny.image(store, *LAYERS), "app:ours")
    assert run("umoci", "ls", "--layout", tmp_path / "layout").split() == ["theirs", "ours"]
    ours = OciLayout(tmp_path / "layout")
    assert Manifest.read(ours.read(ours.resolve("theirs"))).layers == ()
    assert len(Manifest.read(ours.read(ours.resolve("ours"))).layers) == 3


@pytest.mark.parametrize("kind", ["docker", "oci-archive"])
def test_podman_loads_an_archive(require, require_root, store, tmp_path, workroom, kind):
    require("podman")
    require_root()
    # Podman's runroot may have 50 characters.
    podman = ("podman", "--root", workroom / "podman", "--runroot", workroom / "run", "--storage-driver", "vfs")
    write(kind, store, tmp_path / "x.tar", tiny.image(store, *LAYERS), "example.com/app:1")
    try:
        assert "example.com/app:1" in run(*podman, "load", "-i", tmp_path / "x.tar")
        found = json.loads(run(*podman, "image", "inspect", "example.com/app:1"))
        assert found[0]["Config"]["Cmd"] == ["/hello"]
        run(*podman, "save", "-o", tmp_path / "back.tar", "example.com/app:1")
        run(*podman, "rmi", "example.com/app:1")
    finally:
        subprocess.run(["umount", workroom / "podman/vfs"], capture_output=True, check=False)
    check_back(tmp_path / "back.tar", "example.com/app:1")


def check_back(path, name):
    """What a tool saved is read back: every blob sound, the same configuration, the same files."""
    layout = OciLayout(path)
    descriptor = layout.resolve(name)
    manifest = Manifest.read(layout.read(descriptor))
    config = ImageConfig.read(layout.read(manifest.config))
    assert config.config.cmd == ("/hello",)
    assert config.diff_ids == tuple(Digest.of(tiny.layer_tar(files)) for files in LAYERS)
    for item in contents(descriptor, layout.read):
        with layout.open(item) as stream:
            stream.read()


@pytest.mark.parametrize("compression", ["gzip", "uncompressed"])
def test_docker_loads_and_runs_an_archive(docker_daemon, store, tmp_path, compression):
    descriptor = tiny.image(store, *LAYERS, kind=compression)
    write("docker", store, tmp_path / "x.tar", descriptor, "app:1", "example.com/team/app:2")
    out = docker_daemon.docker("load", "--input", tmp_path / "x.tar").stdout
    assert out == "Loaded image: app:1\nLoaded image: example.com/team/app:2\n"
    assert docker_daemon.run("app:1") == "hello from a layer\n"
    manifest = Manifest.read(store.blobs.read(descriptor.digest))
    assert docker_daemon.inspect("app:1")["Id"] == manifest.config.digest
    docker_daemon.docker("save", "--output", tmp_path / "back.tar", "app:1")
    check_back(tmp_path / "back.tar", "app:1")


def test_docker_loads_an_image_without_a_name(docker_daemon, store, tmp_path):
    descriptor = tiny.image(store, *LAYERS, cmd=("/hello", "nameless"))
    write("docker", store, tmp_path / "x.tar", descriptor)
    manifest = Manifest.read(store.blobs.read(descriptor.digest))
    assert docker_daemon.load(tmp_path / "x.tar") == manifest.config.digest


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_what_skopeo_writes_is_read(require, store, tmp_path, form):
    require("skopeo")
    write("oci", store, tmp_path / "x", tiny.image(store, *LAYERS), "app:1")
    run("skopeo", "--insecure-policy", "copy", f"oci:{tmp_path}/x:1", f"{form}:{tmp_path}/y:example.com/app:1")
    check_back(tmp_path / "y", "example.com/app:1")
    with pytest.raises(ImageError, match="has no image called 'other'"):
        OciLayout(tmp_path / "y").resolve("other")


@pytest.mark.parametrize("tool", ["gzip", "zstd"])
def test_a_compressed_archive_is_told(require, store, tmp_path, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    write("docker", store, tmp_path / "x.tar", tiny.image(store, *LAYERS), "app:1")
    run(tool, tmp_path / "x.tar")
    with pytest.raises(ImageError) as caught:
        OciLayout(next(tmp_path.glob("x.tar.*")))
    assert caught.value.hint == "a compressed archive must be decompressed first"
