"""Which image of an index is for a platform; each expectation is what containerd's matcher says."""

from __future__ import annotations

import pytest

from builder.image.documents import OCI_INDEX, OCI_MANIFEST, Descriptor, Index
from builder.image.matching import select, suited
from builder.image.names import Digest, Platform


def image(platform: str, **annotations: str) -> Descriptor:
    named = Platform.parse(platform) if platform else None
    marks = {key.replace("_", "."): value for key, value in annotations.items()}
    return Descriptor(
        media_type=OCI_MANIFEST, digest=Digest.of(platform.encode()), size=1, platform=named, annotations=marks
    )


def chosen(wanted: str, *there: str) -> str | None:
    found = select(Index(media_type=OCI_INDEX, manifests=tuple(map(image, there))), Platform.parse(wanted))
    return next((name for name in there if found and found.digest == image(name).digest), None)


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), "linux/amd64"),
        ("linux/arm64", ("linux/amd64", "linux/arm64/v8"), "linux/arm64/v8"),
        ("linux/s390x", ("linux/amd64", "linux/arm64"), None),
        ("windows/amd64", ("linux/amd64",), None),
        # what was compiled for more than there is does not run
        ("linux/amd64", ("linux/amd64/v3",), None),
        ("linux/amd64", ("linux/amd64/v2", "linux/amd64"), "linux/amd64"),
        ("linux/arm/v6", ("linux/arm/v7",), None),
        ("linux/arm64", ("linux/arm64/v9",), None),
        # what was compiled for less does
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2"), "linux/amd64/v2"),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v4"), "linux/amd64"),
        ("linux/amd64", ("linux/386",), "linux/386"),
        ("linux/386", ("linux/amd64",), None),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/arm64", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/arm64/v9.1", ("linux/arm64/v8.6", "linux/arm64/v8.7"), "linux/arm64/v8.6"),
        ("linux/arm64/v9.1", ("linux/arm64", "linux/arm64/v9"), "linux/arm64/v9"),
        # an index of one image without a platform
        ("linux/amd64", ("",), ""),
        ("linux/amd64", ("", "linux/arm64"), None),
    ],
)
def test_the_best_that_runs_is_taken(wanted: str, there: tuple[str, ...], expected: str | None) -> None:
    assert chosen(wanted, *there) == expected


def test_an_attestation_is_no_image() -> None:
    statement = image("linux/amd64", vnd_docker_reference_type="attestation-manifest")
    other = image("linux/amd64/v2")
    found = Index(media_type=OCI_INDEX, manifests=(statement, other))
    assert select(found, Platform.parse("linux/amd64/v2")) is other
    assert select(found, Platform.parse("linux/amd64")) is None


@pytest.mark.parametrize("variant", ["v99999", "vx", "v8.x", "v-1", "v9.99999999999"])
def test_an_odd_variant_is_itself_and_costs_nothing(variant: str) -> None:
    for architecture in ("amd64", "arm", "arm64"):
        assert sum(1 for _ in suited(Platform("linux", architecture, variant))) < 120
