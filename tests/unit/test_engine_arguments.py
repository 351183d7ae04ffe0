"""Build arguments of BuildKit's that have nothing to do here, and the one that asks for an index."""

from __future__ import annotations

import pytest

from builder.engine.arguments import heed_arguments
from builder.engine.request import as_several
from builder.errors import UsageError
from builder.events import Event, Note

TWO = ("linux/amd64", "linux/arm64")


def said(**build_args: str) -> list[Event]:
    events: list[Event] = []
    heed_arguments(build_args, events.append)
    return events


def refusal(**build_args: str) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        said(**build_args)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("value", ["1", "t", "true", "True"])
def test_a_wish_for_an_inline_cache_is_answered(value: str) -> None:
    text = "BUILDKIT_INLINE_CACHE has no effect: no cache is written into images"
    assert said(BUILDKIT_INLINE_CACHE=value) == [Note("warning", text)]


@pytest.mark.parametrize("value", ["0", "false", "", "maybe"])
def test_no_wish_for_an_inline_cache_is_passed_over_and_so_is_what_is_none(value: str) -> None:
    assert said(BUILDKIT_INLINE_CACHE=value) == []


def test_what_only_names_or_is_unknown_is_passed_over() -> None:
    assert said(BUILDKIT_BUILD_NAME="nightly", BUILDKIT_UNHEARD_OF="1", BUILDKIT_DISABLE_FILEOP="0") == []
    assert said(BUILDKIT_SBOM_SCAN_CONTEXT="1", BUILDKIT_SYNTAX="docker/dockerfile:1") == []


def test_what_buildkit_refuses_is_refused_in_its_words() -> None:
    assert refusal(BUILDKIT_DISABLE_FILEOP="1") == (
        'support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11',
        None,
    )
    for empty in ("", " "):
        assert refusal(BUILDKIT_SYNTAX=empty) == (
            "empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional"
            " behavior",
            None,
        )


def test_attestations_are_refused_by_this_way_too() -> None:
    assert refusal(BUILDKIT_ATTEST_SBOM="") == (
        "the build argument BUILDKIT_ATTEST_SBOM is not supported: no attestations are made",
        None,
    )
    assert refusal(BUILDKIT_ATTEST_OTHER="") == ('unknown attestation type "other"', None)


@pytest.mark.parametrize(
    ("value", "platforms", "several"),
    [
        (None, (), False),
        (None, TWO[:1], False),
        (None, TWO, True),
        ("", TWO, True),
        ("1", (), True),
        ("true", TWO[:1], True),
        ("T", TWO, True),
        ("0", (), False),
        ("false", TWO[:1], False),
    ],
)
def test_an_index_is_made_of_several_platforms_or_where_it_is_asked_for(
    value: str | None, platforms: tuple[str, ...], several: bool
) -> None:
    build_args = {} if value is None else {"BUILDKIT_MULTI_PLATFORM": value}
    assert as_several(build_args, platforms) is several


def test_what_is_no_truth_value_is_refused_and_so_is_one_image_of_several_platforms() -> None:
    with pytest.raises(UsageError) as caught:
        as_several({"BUILDKIT_MULTI_PLATFORM": "maybe"}, ())
    assert caught.value.message == "invalid boolean value for multi-platform: maybe"
    assert caught.value.hint == "BUILDKIT_MULTI_PLATFORM is true or false"
    with pytest.raises(UsageError) as caught:
        as_several({"BUILDKIT_MULTI_PLATFORM": "0"}, TWO)
    assert caught.value.message == "conflicting config: returning multiple target platforms is not allowed"
    assert caught.value.hint == "BUILDKIT_MULTI_PLATFORM is false, and there are several platforms"
