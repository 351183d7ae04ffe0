"""Listings in each of their forms, and the sizes and times in them."""

from __future__ import annotations

import json

import pytest

from builder.cli import figures
from builder.cli.options import Parsed, parse
from builder.cli.tables import OPTIONS, QUIET, Listing, Row, listed, table
from builder.errors import UsageError

LISTING = Listing(columns=(("NAME", "Name"), ("IMAGE ID", "ID")), name="ID", headings={"Extra": "EXTRA THING"})
ROWS: list[Row] = [{"Name": "a", "ID": "111", "Extra": 1}, {"Name": "longer", "ID": "2", "Extra": None}]


def asked(*words: str) -> Parsed:
    return parse("list", (QUIET, *OPTIONS), words)


def test_columns_are_three_blanks_apart() -> None:
    assert listed(LISTING, ROWS, asked()) == "NAME     IMAGE ID\na        111\nlonger   2\n"


def test_an_empty_listing_has_its_headings() -> None:
    assert listed(LISTING, [], asked()) == "NAME   IMAGE ID\n"
    assert listed(LISTING, [], asked("--json")) == "[]\n"


def test_wide_letters_take_two_columns() -> None:
    assert table(("A", "B"), [("日本", "x"), ("b", "y")]) == "A      B\n日本   x\nb      y\n"


def test_what_would_steer_a_terminal_is_shown() -> None:
    assert table(("A",), [("x\x1b[31my\x07",)]) == "A\nxy\\x07\n"


def test_quiet_shows_ids() -> None:
    assert listed(LISTING, ROWS, asked("-q")) == "111\n2\n"


def test_json_is_one_array() -> None:
    assert json.loads(listed(LISTING, ROWS, asked("--json"))) == ROWS


def test_the_format_json_is_a_line_each() -> None:
    lines = listed(LISTING, ROWS, asked("--format", "json")).splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_a_template_is_a_line_each() -> None:
    assert listed(LISTING, ROWS, asked("--format", r"{{.Name}}\t{{.ID}}")) == "a\t111\nlonger\t2\n"


def test_a_template_that_begins_with_table_gets_headings() -> None:
    form = r"table {{.ID}}\t{{.Extra}}\t{{.Name}}"
    assert listed(LISTING, ROWS, asked("--format", form)) == (
        "IMAGE ID   EXTRA THING   NAME\n111        1             a\n2          <nil>         longer\n"
    )


def test_the_format_table_is_the_table() -> None:
    assert listed(LISTING, ROWS, asked("--format", "table")) == listed(LISTING, ROWS, asked())


def test_two_forms_at_once_are_refused() -> None:
    with pytest.raises(UsageError) as found:
        listed(LISTING, ROWS, asked("--json", "--format", "json"))
    assert found.value.message == "--json and --format cannot be used together"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1234, "1.23kB"),
        (999_700, "1MB"),
        (133_400_000, "133MB"),
        (1_982_467, "1.98MB"),
        (5 * 10**15, "5PB"),
    ],
)
def test_sizes_have_three_digits(count: int, shown: str) -> None:
    assert figures.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86400 * 2, "2 days"),
        (86400 * 15, "2 weeks"),
        (86400 * 70, "2 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_durations_are_those_of_docker(seconds: float, shown: str) -> None:
    assert figures.duration(seconds) == shown


def test_moments_are_read_and_written() -> None:
    assert figures.moment("1970-01-01T00:01:00Z") == 60
    assert figures.moment("1970-01-01T01:01:00.123456789+01:00") == pytest.approx(60.123456789)
    assert figures.moment("0001-01-01T00:00:00Z") is not None
    assert figures.moment("yesterday") is None
    assert figures.moment(None) is None
    assert figures.at(60) == "1970-01-01 00:01:00 +0000 UTC"
    assert figures.since(None, 0) == "N/A"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("24h", 1_000_000 - 86400), ("1h30m", 1_000_000 - 5400), ("10", 10), ("1970-01-01T00:01:00Z", 60), ("soon", None)],
)
def test_points_in_time_are_read_as_docker_reads_until(text: str, wanted: float | None) -> None:
    assert figures.point(text, 1_000_000) == wanted
