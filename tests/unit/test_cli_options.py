from __future__ import annotations

import pytest

from builder.cli.options import Option, Parsed, parse
from builder.errors import UsageError

TABLE = (
    Option(name="tag", short="t", kind="list"),
    Option(name="file", short="f"),
    Option(name="quiet", short="q", kind="flag"),
    Option(name="pull", kind="flag"),
    Option(name="network", choices=("default", "none", "host")),
    Option(name="load", kind="flag", refused="there is no daemon", refused_hint="write a tarball"),
)


def read(*words: str) -> Parsed:
    return parse("build", TABLE, words)


def refusal(*words: str) -> tuple[str, str, str | None]:
    with pytest.raises(UsageError) as caught:
        read(*words)
    return caught.value.code, caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    "words",
    [
        ("--tag", "a:1"),
        ("--tag=a:1",),
        ("-t", "a:1"),
        ("-ta:1",),
        ("-t=a:1",),
        ("-qta:1",),
        ("-qt", "a:1"),
    ],
)
def test_a_value_is_written_in_any_of_dockers_ways(words: tuple[str, ...]) -> None:
    assert read(*words).many("tag") == ("a:1",)


def test_options_and_arguments_come_in_any_order() -> None:
    parsed = read("-q", ".", "-t", "a", "--pull")
    assert (parsed.arguments, parsed.flag("quiet"), parsed.flag("pull"), parsed.many("tag")) == (
        (".",),
        True,
        True,
        ("a",),
    )


def test_two_dashes_end_the_options_and_one_dash_is_an_argument() -> None:
    assert read("-", "--", "-t", "--pull").arguments == ("-", "-t", "--pull")


def test_a_list_keeps_all_values_and_a_value_the_last() -> None:
    parsed = read("-t", "a", "-f", "x", "-t", "b", "-f", "y")
    assert parsed.many("tag") == ("a", "b")
    assert parsed.value("file") == "y"


def test_an_empty_value_counts_as_none_in_a_list() -> None:
    assert read("--tag=", "-t", "a").many("tag") == ("a",)


def test_a_value_may_look_like_an_option() -> None:
    assert read("-f", "--pull").value("file") == "--pull"


@pytest.mark.parametrize(("text", "truth"), [("true", True), ("T", True), ("1", True), ("false", False), ("0", False)])
def test_a_flag_takes_a_truth_value(text: str, truth: bool) -> None:
    assert read(f"--pull={text}").flag("pull") is truth


def test_an_option_that_was_not_written_has_its_default() -> None:
    parsed = read()
    assert (parsed.flag("pull"), parsed.value("file", "d"), parsed.many("tag"), parsed.given("tag")) == (
        False,
        "d",
        (),
        False,
    )


def test_an_unknown_flag_is_refused_with_the_nearest_known_one() -> None:
    assert refusal("--tga", "x") == ("unknown-flag", "unknown flag: --tga", "did you mean --tag?")


def test_an_unknown_flag_that_is_near_to_nothing_points_to_the_help() -> None:
    assert refusal("--zzz") == ("unknown-flag", "unknown flag: --zzz", "see 'pybuild build --help'")


def test_an_unknown_letter_is_refused() -> None:
    assert refusal("-qx") == ("unknown-flag", "unknown shorthand flag: 'x' in -qx", "see 'pybuild build --help'")


@pytest.mark.parametrize("word", ["--tag", "-t"])
def test_a_missing_value_is_refused(word: str) -> None:
    assert refusal(word) == ("missing-value", f"flag needs an argument: {word}", "see 'pybuild build --help'")


def test_a_flag_with_a_value_that_is_no_truth_is_refused() -> None:
    assert refusal("--pull=always") == (
        "invalid-value",
        "invalid value for --pull: 'always'",
        "a flag is set by =true or =false",
    )


def test_a_value_that_is_no_choice_is_refused_with_the_choices() -> None:
    assert refusal("--network", "bridge") == (
        "invalid-value",
        "invalid value for --network: 'bridge'",
        "one of default, none, host",
    )


def test_a_known_option_that_is_not_supported_says_why_and_what_to_do() -> None:
    assert refusal("--load") == ("unsupported-flag", "--load is not supported: there is no daemon", "write a tarball")
