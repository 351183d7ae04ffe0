"""Digests, references and platforms, by the rules of distribution/reference and containerd/platforms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.image.names import Digest, Platform, Reference

HEX = "a" * 64


@pytest.mark.parametrize(
    ("written", "whole", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("example.com/a/b/c:v1", "example.com/a/b/c:v1", "example.com/a/b/c:v1"),
        ("EXAMPLE/app", "EXAMPLE/app:latest", "EXAMPLE/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest", "a__b/c-d.e:latest"),
        (f"debian@sha256:{HEX}", f"docker.io/library/debian@sha256:{HEX}", f"debian@sha256:{HEX}"),
        (f"debian:12@sha256:{HEX}", f"docker.io/library/debian:12@sha256:{HEX}", f"debian:12@sha256:{HEX}"),
    ],
)
def test_a_reference_is_normalised_as_docker_does_it(written, whole, familiar):
    reference = Reference.parse(written)
    assert str(reference) == whole
    assert reference.familiar == familiar
    assert Reference.parse(reference.familiar) == reference


@pytest.mark.parametrize(
    "written",
    [
        "",
        ":1",
        "a//b",
        "a/",
        "/a",
        "-a",
        "a-",
        "a___b",
        "a..b/c",
        "a..com/b",
        "x.com-/y",
        "a b",
        "ä",
        "a\n",
        "a:1\n",
        HEX,
    ],
)
def test_what_is_no_reference_is_refused(written):
    with pytest.raises(ImageError) as caught:
        Reference.parse(written)
    assert caught.value.code == "invalid-reference"


def test_a_capital_in_a_repository_is_explained():
    with pytest.raises(ImageError) as caught:
        Reference.parse("Debian")
    assert caught.value.message == "invalid reference format: repository name (library/Debian) must be lowercase"


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a" * 129, "a b", "ä"])
def test_a_tag_that_is_none_is_refused(tag):
    with pytest.raises(ImageError, match="invalid tag in"):
        Reference.parse(f"debian:{tag}")


def test_a_reference_at_a_digest_has_no_tag():
    digest = Digest.of(b"x")
    assert str(Reference.parse("debian:12").at(digest)) == f"docker.io/library/debian@{digest}"


@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_an_image_error(text):
    try:
        reference = Reference.parse(text)
    except ImageError:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize("text", ["", "sha256", "sha256:", "sha256:" + "A" * 64, "md5:" + "a" * 32, f"sha256:{HEX}\n"])
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ImageError) as caught:
        Digest.parse(text)
    assert caught.value.message == f"not a digest: {text!r}"
    assert caught.value.code == "invalid-digest"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_digest_knows_what_it_is_of(algorithm):
    import hashlib

    digest = Digest.parse(f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}")
    assert digest.matches(b"x")
    assert not digest.matches(b"y")
    assert digest == f"{digest.algorithm}:{digest.hex}"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("Linux/ARM64", "linux/arm64"),
        ("macos/arm64", "darwin/arm64"),
        ("i386", "linux/386"),
        ("arm64", "linux/arm64"),
        ("windows", "windows/amd64"),
    ],
)
def test_a_platform_is_normalised_as_containerd_does_it(written, normal):
    assert str(Platform.parse(written)) == normal


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/amd64/v1/x", "lin ux/amd64", "linux/amd64\n", "lnux"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(ImageError) as caught:
        Platform.parse(text)
    assert caught.value.code == "invalid-platform"
    assert caught.value.hint == "write it as linux/amd64"
