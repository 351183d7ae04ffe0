"""What hangs on an image, and what must be true of it."""

from dataclasses import replace

import pytest

from builder.errors import ImageError
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig
from builder.image.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, Index, Manifest
from builder.image.names import Digest, Platform
from builder.image.validate import violations
from builder.image.views import contents, manifests, read_root, verify


class Shelf(dict):
    """Documents by digest: a store that is a dictionary."""

    def put(self, media_type, data, **more):
        digest = Digest.of(data)
        self[digest] = data
        return Descriptor(media_type=media_type, digest=digest, size=len(data), **more)

    def image(self, *layers, **more):
        config = self.put(OCI_CONFIG, ImageConfig(platform=Platform("linux", "amd64")).bytes())
        found = tuple(self.put(OCI_LAYER, data) for data in layers)
        return self.put(OCI_MANIFEST, Manifest(media_type=OCI_MANIFEST, config=config, layers=found).bytes(), **more)

    def index(self, *items):
        return self.put(OCI_INDEX, Index(media_type=OCI_INDEX, manifests=items).bytes())

    def read(self, descriptor):
        return self[descriptor.digest]


def test_every_blob_of_an_image_is_told_once_and_what_names_it_comes_after():
    shelf = Shelf()
    first, second = shelf.image(b"a", b"b", b"a"), shelf.image(b"a", b"c")
    root = shelf.index(first, second, first)
    order = [item.digest for item in contents(root, shelf.read)]
    assert sorted(order) == sorted(shelf)
    assert order[-1] == root.digest
    assert order.index(Digest.of(b"c")) < order.index(second.digest)


def test_an_index_in_an_index_is_followed():
    shelf = Shelf()
    image = shelf.image(b"a")
    assert image.digest in [item.digest for item in contents(shelf.index(shelf.index(image)), shelf.read)]


def test_indexes_without_an_end_are_refused():
    shelf = Shelf()
    item = shelf.image(b"a")
    for _ in range(10):
        item = shelf.index(item)
    with pytest.raises(ImageError, match="more manifests hang on the image than any has"):
        contents(item, shelf.read)


def test_a_blob_that_is_no_image_is_refused():
    shelf = Shelf()
    layer = shelf.put(OCI_LAYER, b"x")
    with pytest.raises(ImageError) as caught:
        contents(layer, shelf.read)
    assert caught.value.message == f"{layer.digest} is no image but {OCI_LAYER}"
    assert caught.value.code == "not-an-image"


def test_an_attestation_is_no_image_of_its_index():
    shelf = Shelf()
    image = shelf.image(b"a")
    note = shelf.image(b"n", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    assert [item.digest for item, _ in manifests(shelf.index(image, note), shelf.read)] == [image.digest]


def test_bytes_are_compared_with_what_was_announced():
    shelf = Shelf()
    item = shelf.put(OCI_CONFIG, b"{}")
    verify(item, b"{}")
    with pytest.raises(ImageError, match="has 3 bytes, not 2"):
        verify(item, b"{ }")
    with pytest.raises(ImageError, match="is another"):
        verify(item, b"[]")


def test_an_index_json_of_another_schema_is_refused():
    with pytest.raises(ImageError, match=r"index\.json is not of schema version 2"):
        read_root(b'{"manifests":[]}')


def test_a_sound_image_violates_nothing():
    shelf = Shelf()
    manifest = Manifest.read(shelf.read(shelf.image(b"a")))
    config = ImageConfig(
        platform=Platform("linux", "amd64"),
        diff_ids=(Digest.of(b"a"),),
        history=(HistoryEntry(created_by="x"), HistoryEntry(created_by="y", empty_layer=True)),
    )
    assert violations(manifest, config) == ()


def test_every_violation_is_told():
    shelf = Shelf()
    manifest = Manifest.read(shelf.read(shelf.image(b"a")))
    manifest = replace(manifest, layers=(*manifest.layers, shelf.put("text/plain", b"t")))
    config = ImageConfig(
        platform=Platform("linux", ""),
        diff_ids=(Digest.of(b"a"),),
        history=(HistoryEntry(created_by="x"), HistoryEntry(created_by="y")),
        config=RunConfig(env=("=x", "A=")),
    )
    assert violations(manifest, config) == (
        "the manifest has 2 layers, the configuration 1 diff ids",
        "the history tells of 2 layers, and there are 1",
        "the configuration names no architecture",
        "not a layer that can be unpacked: text/plain",
        "not an environment variable: '=x'",
    )
