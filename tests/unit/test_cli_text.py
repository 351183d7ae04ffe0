from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.lines import LINE_LIMIT, TAIL, Lines, Log
from builder.cli.streams import Descriptor
from builder.cli.text import cut, harmless, seconds, size, width


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;32mgreen\x1b[0m", "green"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b(Bset", "set"),
        ("\x9b31mred", "red"),
        ("half a sequence \x1b[3", "half a sequence "),
        ("bell \x07 null \x00", "bell \\x07 null \\x00"),
        ("a\tb", "a       b"),
        ("10%\r20%\r30%\r", "30%"),
        ("ab\bc", "ac"),
        ("evil \u202e txt", "evil \\u202e txt"),
        ("grün 漢字", "grün 漢字"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_in_a_line_can_steer_a_terminal(line: str, shown: str) -> None:
    assert harmless(line) == shown


@given(st.text())
def test_a_harmless_line_is_printable_whatever_it_was(line: str) -> None:
    assert harmless(line).isprintable()


@given(st.text(), st.integers(0, 40))
def test_a_cut_line_fits(line: str, columns: int) -> None:
    assert width(cut(harmless(line), columns)) <= columns


def test_a_wide_character_takes_two_columns() -> None:
    assert [width("ab"), width("漢字"), width("e\u0301")] == [2, 4, 1]
    assert cut("漢字漢字", 6) == "漢字…"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_100_000, "4.1 MB"),
        (999_960, "1.0 MB"),
        (2_500_000_000, "2.5 GB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0s"), (1.26, "1.3s"), (59.94, "59.9s"), (59.96, "1m00s"), (187, "3m07s"), (3727, "1h02m07s")],
)
def test_times_are_short(count: float, text: str) -> None:
    assert seconds(count) == text


def test_bytes_become_lines_as_they_are_completed() -> None:
    lines = Lines()
    assert lines.feed(b"one\r\ntw") == ["one"]
    assert lines.partial == "tw"
    assert lines.feed(b"o\n\nthree") == ["two", ""]
    assert lines.flush() == ["three"]
    assert lines.flush() == []


def test_a_character_may_come_in_two_pieces() -> None:
    lines = Lines()
    assert lines.feed("ü".encode()[:1]) == []
    assert lines.feed("ü".encode()[1:] + b"\n") == ["ü"]


def test_bytes_that_are_no_text_become_escapes() -> None:
    lines = Lines()
    assert lines.feed(b"\xff\xfe\x00\n") == ["\\xff\\xfe\\x00"]
    lines.feed(b"\xc3")
    assert lines.flush() == ["\\xc3"]


def test_a_line_without_an_end_is_cut() -> None:
    lines = Lines()
    found = lines.feed(b"x" * (3 * LINE_LIMIT + 5))
    assert [len(line) for line in found] == [LINE_LIMIT] * 3
    assert lines.flush() == ["xxxxx"]


def test_a_progress_bar_that_is_redrawn_for_ever_takes_no_memory() -> None:
    lines = Lines()
    for number in range(10_000):
        assert lines.feed(b"\r[%04d] working" % number) == []
    assert lines.partial == "[9999] working"
    assert lines.flush() == ["[9999] working"]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_how_bytes_are_cut_makes_no_difference(data: bytes, step: int) -> None:
    whole, parts = Lines(), Lines()
    expected = whole.feed(data) + whole.flush()
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert [line for piece in pieces for line in parts.feed(piece)] + parts.flush() == expected


def test_a_log_keeps_its_last_lines_and_what_is_being_written() -> None:
    log = Log()
    log.feed(1, b"".join(b"%d\n" % i for i in range(TAIL + 10)))
    log.feed(2, b"no end")
    assert log.last(2) == [str(TAIL + 9), "no end"]
    assert log.flush() == ["no end"]
    assert len(log.tail) == TAIL


def test_a_stream_whose_reader_went_away_is_silent_or_says_so() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        Descriptor(write, vanish=True).write("progress")
        with pytest.raises(BrokenPipeError):
            Descriptor(write).write("result")
    finally:
        os.close(write)


def test_a_stream_writes_what_utf8_does_not_have_as_escapes() -> None:
    read, write = os.pipe()
    Descriptor(write).write("a\udcff")
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"a\\udcff"
