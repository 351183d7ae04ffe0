"""Contexts that are no folders, and images that are named: found where they are said to be."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from builder.engine.bases import Bases, is_folder, split_layout
from builder.engine.opening import written_beneath
from builder.engine.request import BuildRequest, Output
from builder.engine.sources.arrival import arrive
from builder.engine.world import Settings
from builder.errors import ContextError, ImageError
from builder.events import silent
from builder.image.names import Platform, Reference
from builder.plan.steps import BaseKey
from builder.store import Store

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


def tar(mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:  # type: ignore[call-overload]  # a str is one of its literals
        entry = tarfile.TarInfo("folder/file")
        entry.size = 2
        file.addfile(entry, io.BytesIO(b"hi"))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tarball_becomes_a_folder(store: Store, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "context"
    path.write_bytes(tar(mode))
    arrived = arrive(str(path), None, store, Settings())
    assert (arrived.folder / "folder/file").read_text() == "hi"
    with path.open("rb") as stream:
        streamed = arrive("-", stream.fileno(), store, Settings())
    assert (streamed.folder / "folder/file").read_text() == "hi"
    assert arrive(str(tmp_path), None, store, Settings()).folder == tmp_path
    assert os.listdir(arrive("-", None, store, Settings()).folder) == []


def test_what_is_no_context_is_said_so(store: Store, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("FROM scratch\n")
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_bytes(tar("w")[:700])
    os.mkfifo(tmp_path / "pipe")
    wrong = {
        "nothing": f"the build context {tmp_path}/nothing cannot be opened: No such file or directory",
        "text": f"the build context {tmp_path}/text is neither a folder nor a tarball",
        "pipe": f"the build context {tmp_path}/pipe is neither a folder nor a tarball",
        "empty": f"the build context {tmp_path}/empty is empty",
    }
    for name, message in wrong.items():
        with pytest.raises(ContextError) as caught:
            arrive(str(tmp_path / name), None, store, Settings())
        assert (caught.value.message, caught.value.code) == (message, "no-context")


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("folder", True),
        ("/a/b", True),
        ("https://example.com/a.git#main", True),
        ("http://example.com/file", True),
        ("git://example.com/a", True),
        ("ssh://git@example.com/a", True),
        ("git@example.com:a/b.git", True),
        ("docker-image://debian", False),
        ("oci-layout:///a", False),
        ("target:stage", False),
        ("ftp://example.com/", False),
        ("", False),
    ],
)
def test_which_contexts_are_files(written: str, answer: bool) -> None:
    assert is_folder(written) is answer


def test_a_layouts_name_and_tag_are_told_apart(tmp_path: Path) -> None:
    assert split_layout("/a/b:1.2") == (Path("/a/b"), "1.2")
    assert split_layout("/a/b") == (Path("/a/b"), None)
    assert split_layout("/a:b/c") == (Path("/a:b/c"), None)
    assert split_layout("/a@sha256:0") == (Path("/a"), "sha256:0")
    (tmp_path / "a:b").mkdir()
    assert split_layout(str(tmp_path / "a:b")) == (tmp_path / "a:b", None)


def test_outputs_inside_the_context_are_known(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    outputs = (
        Output(kind="docker", dest=str(tmp_path / "a.tar")),
        Output(kind="local", dest=str(tmp_path / "link/b/c")),
        Output(kind="tar", dest="-"),
        Output(kind="image"),
        Output(kind="oci", dest="/elsewhere"),
    )
    request = BuildRequest(context=str(tmp_path), outputs=outputs, iidfile=str(tmp_path / "id"), metadata_file="/m")
    assert written_beneath(tmp_path / "link", request) == {"a.tar", "b/c", "id"}


def no_registry() -> object:
    raise AssertionError("no registry is asked")


def bases(store: Store, **contexts: str) -> Bases:
    return Bases(store, contexts, no_registry, pull=False, emit=silent)  # type: ignore[arg-type]  # it is not called


def test_an_image_that_is_here_is_taken_for_its_platform(store: Store) -> None:
    manifests = [tiny.image(store, {"a": b"1"}, platform=name) for name in ("linux/amd64", "linux/arm64")]
    store.images.tag(Reference.parse("app"), tiny.index(store, *manifests))
    known = bases(store)
    found = known.find(BaseKey(name="app", platform=ARM64))
    assert found.base.config.platform == ARM64
    assert found.base.pinned.startswith("docker.io/library/app:latest@sha256:")
    assert len(known.snapshots(BaseKey(name="app", platform=ARM64))) == 1
    known.fetch(BaseKey(name="app", platform=AMD64))


def test_contexts_come_before_names(store: Store, tmp_path: Path) -> None:
    known = bases(store, app=str(tmp_path), other="ftp://example.com/x")
    answer = known.answer(BaseKey(name="APP", platform=AMD64))
    assert answer.is_folder
    with pytest.raises(ImageError) as caught:
        known.answer(BaseKey(name="other", platform=AMD64))
    assert caught.value.message == "the build context other is not an image: ftp://example.com/x"


def test_an_image_whose_numbers_disagree_is_refused(store: Store) -> None:
    import json

    image = tiny.image(store, {"a": b"1"})
    manifest = json.loads(store.blobs.read(image.digest))
    manifest["layers"] *= 2
    data = json.dumps(manifest).encode()
    store.images.tag(Reference.parse("bad"), tiny._put(store, image.media_type, data))
    store.images.tag(Reference.parse("only-amd64"), tiny.index(store, image))
    for name in ("bad", "only-amd64"):
        # The store's image is no good, so the registry is asked.
        with pytest.raises(AssertionError, match="no registry is asked"):
            bases(store).find(BaseKey(name=name, platform=ARM64))
