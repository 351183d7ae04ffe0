"""Documents: what comes in goes out again, and what is none is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig, chain_id
from builder.image.documents import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    canonical,
    compression_of,
)
from builder.image.names import Digest

ZERO = "sha256:" + "0" * 64
LAYER = {"mediaType": OCI_LAYER + "+gzip", "digest": ZERO, "size": 3}
CONFIG = {"mediaType": OCI_CONFIG, "digest": ZERO, "size": 2}


def manifest(**more):
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]} | more
    return canonical({key: item for key, item in value.items() if item is not ...})


def entry(platform=None, **more):
    value = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(repr((platform, more)).encode())), "size": 1} | more
    return value | ({"platform": platform} if platform else {})


def index(*manifests):
    return Index.read(canonical({"schemaVersion": 2, "manifests": list(manifests)}))


def test_canonical_json_has_one_form():
    assert canonical({"b": "ü", "a": [1, None]}) == '{"a":[1,null],"b":"ü"}'.encode()


def test_a_manifest_is_written_as_it_was_read():
    data = manifest(annotations={"a": "b"}, subject=CONFIG, artifactType="x/y")
    assert Manifest.read(data).bytes() == data


def test_a_descriptor_keeps_what_it_does_not_know():
    value = entry(
        {"os": "windows", "architecture": "amd64", "os.version": "10.0.1"}, urls=["x"], annotations={"a": "b"}
    )
    assert Descriptor.read(value).json() == value


def test_an_image_without_layers_may_say_null():
    assert Manifest.read(manifest(layers=None)).layers == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the manifest is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "the manifest is not a JSON object"),
        (b'{"a":NaN}', "the manifest is not JSON: NaN is no number"),
        (b"\xff", "the manifest is not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"{}", "not an image manifest: KeyError('config')"),
        (manifest(manifests=[]), "not an image manifest: it has manifests"),
        (manifest(schemaVersion=1), "an image of Docker's schema 1 cannot be read"),
        (
            manifest(annotations=[1]),
            "not an image manifest: AttributeError(\"'list' object has no attribute 'items'\")",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(data, message):
    with pytest.raises(ImageError) as caught:
        Manifest.read(data)
    assert caught.value.message == message


def test_an_index_that_is_a_manifest_to_others_is_refused():
    with pytest.raises(ImageError, match="not an image index: it has layers"):
        Index.read(canonical({"schemaVersion": 2, "manifests": [], "layers": []}))


@pytest.mark.parametrize("size", [-1, 1.5, True, "1", None, 1 << 63])
def test_a_size_must_be_a_count_of_bytes(size):
    with pytest.raises(ImageError, match="not a descriptor"):
        Descriptor.read(LAYER | {"size": size})


def test_a_run_configuration_is_written_as_it_was_read():
    value = {
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["A=b"],
        "Entrypoint": ["/x"],
        "Cmd": ["y"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"a": "b"},
        "StopSignal": "SIGINT",
        "Shell": ["/bin/sh", "-c"],
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1000000000},
        "OnBuild": ["RUN x"],
        "ArgsEscaped": True,
        "Memory": 5,
    }
    assert RunConfig.read(value).json() == value
    assert RunConfig.read(None).json() == {}


@pytest.mark.parametrize("value", [[], {"Env": "A=b"}, {"Labels": [1]}, {"Healthcheck": 5}, {"ExposedPorts": 80}])
def test_what_is_no_run_configuration_is_refused(value):
    if value == []:
        value = {"config": [1]}
    else:
        value = {"config": value}
    with pytest.raises(ImageError, match="not an image configuration"):
        ImageConfig.read(canonical(value))


@pytest.mark.parametrize("value", [{"Env": ["A=\0"]}, {"WorkingDir": "/a\0b"}, {"User": "\0"}, {"Cmd": ["x", "y\0"]}])
def test_a_nul_that_would_end_a_word_early_is_refused(value):
    (name,) = value
    with pytest.raises(ImageError) as caught:
        ImageConfig.read(canonical({"config": value}))
    assert caught.value.message == f"not an image configuration: {name} holds a NUL"


def test_an_image_configuration_is_written_as_it_was_read():
    value = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2020-01-01T00:00:00Z",
        "author": "me",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [ZERO]},
        "history": [{"created_by": "x", "created": "2020-01-01T00:00:00Z"}, {"empty_layer": True, "comment": "c"}],
        "moby.buildkit.buildinfo.v1": "x",
    }
    assert json.loads(ImageConfig.read(canonical(value)).bytes()) == value


def test_a_date_that_is_no_text_is_refused():
    with pytest.raises(ImageError, match="created is 5"):
        ImageConfig.read(b'{"created":5}')


def test_history_without_a_command_says_none():
    assert HistoryEntry(created_by="").json() == {}


KEYS = st.sampled_from(
    ["config", "layers", "manifests", "diff_ids", "history", "mediaType", "digest", "size", "platform", "Env"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=12))
def test_any_json_is_a_document_or_an_image_error(value):
    for kind in (Manifest, Index, ImageConfig):
        try:
            kind.read(canonical(value)).bytes()
        except ImageError:
            pass


def test_the_chain_id_is_that_of_the_specification():
    a, b = Digest.of(b"a"), Digest.of(b"b")
    assert chain_id((a,)) == a
    assert chain_id((a, b)) == Digest.of(f"{a} {b}".encode())
    with pytest.raises(ImageError, match="an image without layers has no chain id"):
        chain_id(())


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        (OCI_LAYER, "uncompressed"),
        (OCI_LAYER + "+gzip", "gzip"),
        (OCI_LAYER + "+zstd", "zstd"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"),
    ],
)
def test_a_media_type_tells_the_compression(media_type, kind):
    assert compression_of(media_type) == kind


def test_a_layer_that_is_none_is_refused():
    with pytest.raises(ImageError, match="not a layer that can be unpacked: text/plain"):
        compression_of("text/plain")


def test_the_media_type_of_an_index_may_be_left_out():
    assert index().media_type == OCI_INDEX
