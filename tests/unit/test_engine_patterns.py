"""Patterns of sources are those of Go's filepath.Match, and finding a match never takes long."""

from __future__ import annotations

import time

import pytest

from builder.engine.sources.patterns import BadPattern, Reach, clean, has_wildcards, match_expression


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        # from Go's own tests, path/filepath/match_test.go
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[\\-x]", "a", False),
        ("*x", "xxx", True),
        # what Go's documentation does not say: a class may take a slash
        ("a[^x]b", "a/b", True),
        ("a[.-0]b", "a/b", True),
        ("*[^a]*z", "b/z", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("arr[[]0].txt", "arr[0].txt", True),
        # ** is two stars
        ("**/x", "a/x", True),
        ("**/x", "a/b/x", False),
    ],
)
def test_a_pattern_matches_as_in_go(pattern: str, path: str, expected: bool) -> None:
    expression, _ = match_expression(pattern)
    assert (expression.fullmatch(path) is not None) is expected


@pytest.mark.parametrize(
    "pattern", ["[", "[]a]", "[^", "[^bc", "a[", "[-]", "[x-]", "[-x]", "[a-b-c]", "\\", "[\\", "a[-b"]
)
def test_a_malformed_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(BadPattern, match="syntax error in pattern"):
        match_expression(pattern)


def test_many_stars_take_no_time() -> None:
    expression, _ = match_expression("*a" * 30 + "*b")
    began = time.process_time()
    assert expression.fullmatch("a" * 250) is None
    assert time.process_time() - began < 0.5


def test_a_quoted_wildcard_is_none() -> None:
    assert [has_wildcards(text) for text in ("a", "a*", "a?", "a[", "a\\*", "a\\*b?", "\\")] == [
        False,
        True,
        True,
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("path", "expected"), [("/", ""), ("./a//b/", "a/b"), ("../../a", "a"), ("a/../../b/.", "b"), ("a b", "a b")]
)
def test_a_cleaned_path_stays_below_the_root(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("a/b/c", "a", True),
        ("a/b/c", "a/b", True),
        ("a/b/c", "a/b/c", False),
        ("a/b/c", "x", False),
        ("a/*/c", "a/x", True),
        ("a/**/c", "a/x/y/z", True),
        ("**/c", "x", True),
        ("a[^b]c", "x", True),
    ],
)
def test_a_folder_is_walked_only_if_a_pattern_may_match_in_it(pattern: str, folder: str, expected: bool) -> None:
    assert Reach(pattern)(folder) is expected
