"""From layers to an image: documents, dates, compressions; and what of them is the same when nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from plans import plan
from worlds.engines import world

from builder.engine.outputs.assemble import Assembled, ImageLayer, assemble, layers_of, oci_type
from builder.engine.outputs.deliver import needs
from builder.engine.outputs.packed import find_packed
from builder.engine.outputs.recompress import Packing, recompress
from builder.engine.position import Position
from builder.engine.request import Output
from builder.engine.world import World
from builder.image.documents import OCI_LAYER, Descriptor
from builder.image.names import Digest
from builder.store import LayerInfo, Store

MADE = "2020-01-02T03:04:05Z"
DOCKERFILE = "FROM scratch\nCOPY a /\nENV X=1\nRUN b\nCMD c\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


@pytest.fixture
def here(store: Store) -> World:
    return world(store)


def packed(store: Store, name: str, files: Mapping[str, bytes]) -> str:
    """A snapshot whose layer is in the store as an uncompressed tar."""
    blob = store.blobs.write(tiny.layer_tar(files))
    info = LayerInfo(snapshot=name, blob=blob, diff_id=blob, media_type=OCI_LAYER, created=MADE)
    store.layers.put(replace(info, size=store.blobs.size(blob)))
    return name


@pytest.fixture
def position(store: Store) -> Position:
    return Position(None, (), (packed(store, "one", {"a": b"a" * 5000}), packed(store, "two", {"b": b"b" * 5000})))


def image(here: World, layers: tuple[ImageLayer, ...], **how: object) -> Assembled:
    given = {"annotations": {}, "epoch": None} | how
    return assemble(plan(DOCKERFILE), layers, here, **given)  # type: ignore[arg-type]  # of several kinds


def test_an_image_has_its_layers_and_a_date_for_all_of_its_history(here: World, position: Position) -> None:
    made = image(here, layers_of(position, here))
    assert [entry.empty_layer for entry in made.config.history] == [False, True, False, True]
    assert [entry.created for entry in made.config.history] == [MADE, made.config.created, MADE, made.config.created]
    assert len(made.config.diff_ids) == len(made.manifest.layers) == 2
    assert made.manifest.config.digest == Digest.of(made.config.bytes())
    assert here.store.blobs.read(made.descriptor.digest) == made.manifest.bytes()
    assert made.descriptor.platform == made.config.platform


def test_the_same_layers_make_the_same_image_however_they_are_compressed(here: World, position: Position) -> None:
    plain = image(here, layers_of(position, here))
    assert image(here, layers_of(position, here)) == plain
    for kind in ("gzip", "zstd", "uncompressed"):
        other = image(here, recompress(layers_of(position, here), Packing(kind=kind), here))
        assert other.config == plain.config
        suffix = "" if kind == "uncompressed" else f"+{kind}"
        assert {layer.media_type for layer in other.manifest.layers} == {OCI_LAYER + suffix}


def test_an_epoch_dates_everything(here: World, position: Position) -> None:
    made = image(here, layers_of(position, here), epoch=1_000_000_000)
    dates = {made.config.created, *(entry.created for entry in made.config.history)}
    assert dates == {"2001-09-09T01:46:40Z"}


def test_annotations_are_the_manifests(here: World, position: Position) -> None:
    made = image(here, layers_of(position, here), annotations={"a": "b"})
    assert made.manifest.annotations == {"a": "b"}
    assert made.config == image(here, layers_of(position, here)).config


def test_what_was_compressed_once_is_not_compressed_again(here: World, position: Position) -> None:
    layers = layers_of(position, here)
    first = recompress(layers, Packing(kind="zstd"), here)
    for layer in layers:
        here.store.blobs.delete(layer.descriptor.digest)
    assert recompress(layers, Packing(kind="zstd"), here) == first
    assert all(layer.descriptor.size < 1000 for layer in first)


def test_a_bases_layers_keep_their_bytes_unless_it_is_forced(here: World) -> None:
    tar = tiny.layer_tar({"a": b"a" * 5000})
    blob = here.store.blobs.write(tiny.compressed(tar, "gzip"))
    descriptor = Descriptor(media_type=f"{OCI_LAYER}+gzip", digest=blob, size=here.store.blobs.size(blob))
    base = (ImageLayer(descriptor=descriptor, diff_id=Digest.of(tar), created=None),)
    assert recompress(base, Packing(kind="zstd"), here) == base
    assert recompress(base, Packing(kind="gzip", force=True), here) == base
    (forced,) = recompress(base, Packing(kind="uncompressed", force=True), here)
    assert forced.descriptor.digest == forced.diff_id == base[0].diff_id


def test_outputs_say_how_layers_are_packed() -> None:
    def packing(kind: str, **given: str) -> Packing:
        return Packing.of(Output(kind=kind, attributes={name.replace("_", "-"): text for name, text in given.items()}))

    assert packing("docker") == Packing()
    assert packing("registry") == Packing(kind="gzip")
    assert packing("oci", compression="zstd", compression_level="7", force_compression="true") == Packing(
        kind="zstd", level=7, force=True
    )


@pytest.mark.parametrize(
    ("kinds", "blobs", "roots"),
    [
        (("docker",), True, 0),
        (("cacheonly",), False, 0),
        (("local", "tar"), False, 2),
        (("image", "local"), True, 1),
        ((), False, 0),
    ],
)
def test_outputs_need_blobs_or_roots(kinds: tuple[str, ...], blobs: bool, roots: int) -> None:
    needed = needs([Output(kind=kind) for kind in kinds])
    assert (needed.blobs, len(needed.roots)) == (blobs, roots)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", f"{OCI_LAYER}+gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", f"{OCI_LAYER}+zstd"),
        ("application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER),
        (f"{OCI_LAYER}+zstd", f"{OCI_LAYER}+zstd"),
    ],
)
def test_dockers_types_have_names_in_oci(given: str, found: str) -> None:
    assert oci_type(given) == found


def test_a_layer_is_packed_only_if_its_blob_is_there(store: Store, position: Position) -> None:
    found = find_packed(store, "one", None)
    assert found is not None
    assert found.created == MADE
    assert find_packed(store, "one", 5) is None
    assert find_packed(store, "never", None) is None
    store.blobs.delete(found.descriptor.digest)
    assert find_packed(store, "one", None) is None
