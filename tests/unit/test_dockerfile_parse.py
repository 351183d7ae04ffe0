"""A Dockerfile as a whole: triggers, limits, places; what its instructions say is in tests/golden."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

import pytest

from builder.dockerfile import lines
from builder.dockerfile.instructions import Copy, Env, Healthcheck, Onbuild, Run
from builder.dockerfile.lint import EXPERIMENTAL, RULES, documentation, lint
from builder.dockerfile.lint_options import ALL, CheckDirective, parse_check
from builder.dockerfile.numbers import duration, integer
from builder.dockerfile.parse import MAX_MISTAKES, parse, parse_trigger
from builder.dockerfile.source import SourceFile, Span
from builder.errors import DockerfileError


def error_of(function: Callable[[], object]) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        function()
    return caught.value


def only(text: str) -> object:
    """The one instruction behind FROM."""
    (instruction,) = parse(b"FROM base\n" + text.encode(), "Dockerfile").stages[0].instructions
    return instruction


# -- triggers ----------------------------------------------------------------------------------------------------------


def test_a_stored_trigger_says_what_was_written() -> None:
    stored = only("ONBUILD RUN <<-EOF cat > /x\n\thi\n\tEOF\n")
    assert isinstance(stored, Onbuild)
    assert stored.trigger == "RUN <<-EOF cat > /x\n\thi\nEOF"
    read = parse_trigger(stored.trigger)
    assert isinstance(read, Run)
    assert (read.heredocs[0].content, read.heredocs[0].raw, read.heredocs[0].chomp) == ("hi\n", "\thi\n", True)


def test_a_trigger_stands_where_the_caller_says() -> None:
    where = Span(SourceFile("Dockerfile", ("FROM onbuild",)), 1, 5, 1, 12)
    read = parse_trigger("COPY . /app", where=where)
    assert isinstance(read, Copy)
    assert read.span is where
    error = error_of(lambda: parse_trigger("COPPY . /app", where=where))
    assert (error.message, error.where, error.hint) == (
        "unknown instruction: COPPY",
        where,
        "the base image's trigger is: ONBUILD 'COPPY . /app'",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the Dockerfile cannot be empty"),
        ("# nothing", "onbuild trigger should be a single expression"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("RUN <<E\nx", "unterminated heredoc"),
        ("\ud800", "unknown instruction: \ufffd\ufffd\ufffd"),
    ],
)
def test_a_trigger_that_is_none_is_refused(text: str, message: str) -> None:
    assert error_of(lambda: parse_trigger(text)).message == message


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_file_of_a_hundred_megabytes_is_refused_at_once() -> None:
    data = b"FROM base\n" + b"x" * 100_000_000
    start = time.process_time()
    error = error_of(lambda: parse(data, "Dockerfile"))
    assert time.process_time() - start < 1
    assert error.message == "the Dockerfile has 100000010 bytes, more than the 16777216 that are allowed"
    assert error.where is not None
    assert error.where.describe() == "Dockerfile"


def test_the_longest_line_is_that_of_buildkit() -> None:
    room = lines.MAX_LINE_BYTES - len("RUN \n")
    parse(b"FROM base\nRUN " + b"x" * room + b"\n", "Dockerfile")
    error = error_of(lambda: parse(b"FROM base\nRUN " + b"x" * (room + 1) + b"\n", "Dockerfile"))
    assert error.message == "dockerfile line greater than max allowed size of 65535"
    assert error.where is not None
    assert error.where.describe() == "Dockerfile:2"


def test_too_many_lines_are_refused() -> None:
    assert error_of(lambda: parse(b"\n" * 1_000_001, "D")).message == "the Dockerfile has more than 1000000 lines"


def test_too_much_instruction_text_is_refused_once() -> None:
    error = error_of(lambda: parse(b"FROM base\n" + (b"RUN " + b"x" * 1000 + b"\n") * 1_500, "D"))
    assert error.message == "the instructions of the Dockerfile have more than 1048576 characters"
    assert error.also == ()


def test_a_heredoc_may_be_long() -> None:
    body = ("0" * 99 + "\n") * 100_000
    copied = only(f"COPY <<E /x\n{body}E\n")
    assert isinstance(copied, Copy)
    assert copied.heredocs[0].content == body


def test_the_mistakes_that_are_told_are_bounded() -> None:
    error = error_of(lambda: parse(b"FROM base\n" + b"FOO\n" * 10_000, "D"))
    assert 1 + len(error.also) == MAX_MISTAKES


@pytest.mark.parametrize(
    "text",
    [
        b"\n" * 300_000 + b"FROM base\n",
        b"#\n" * 300_000 + b"FROM base\n",
        b"# x\n" * 300_000 + b"FROM base\n",
        b"FROM base\nRUN a" + b" \\\n" * 100_000,
        b"FROM base\nRUN a \\\n" + b"\n" * 300_000,
        b"FROM base\nCOPY" + b" \\\na b" * 100_000,
        b"FROM base\nENV" + b" \\\na=b" * 100_000,
        b"FROM base\nARG" + b" \\\n'a'" * 100_000,
        b"FROM base\nRUN" + b" \\\n--mount=type=bind,target=/x,source=/y" * 20_000 + b" true",
        b"FROM base\nCMD [" + b'"a",\\\n' * 100_000 + b'"b"]',
        b"FROM base\nCMD " + b"[[[[[[[[[[\\\n" * 100_000,
        b"FROM base\nRUN cat" + b" \\\n<<a" * 100_000,
        b"FROM base\nRUN cat" + b" \\\n<<a" * 1_000 + b"\na" * 1_000,
        b"FROM base\nRUN <<a\n" + b"\t" * 60_000 + b"b\n" + b"b\n" * 800_000,
        b"ONBUILD " * 100_000,
        b"FROM base\nLABEL " + b'"\\\n' * 200_000,
        b"FROM base\n" + b"USER a\n" * 100_000,
        b"# escape =" + b" " * 60_000 + b"x y" + b" " * 5_000 + b"z\nFROM base\n",
        b"FROM base\nHEALTHCHECK --interval=" + b"9" * 60_000 + b"s CMD x\n",
        b"FROM base\nHEALTHCHECK --retries=" + b"9" * 60_000 + b" CMD x\n",
        b"FROM base\nRUN " + b"9" * 60_000 + b"<<E\nE\n",
        b"FROM base\nCMD [" + b"9" * 60_000 + b"]\n",
        b"FROM base\n" + b"x" * 60_000 + b" a\n",
        b"FROM base\nRUN --" + b"x" * 60_000 + b" a\n",
    ],
    ids=lambda text: text[:40].decode().strip(),
)
def test_hostile_files_take_seconds_at_most(text: bytes) -> None:
    start = time.process_time()
    try:
        lint(parse(text, "D"))
    except DockerfileError as error:
        told = error.where.describe() if error.where else ""
    else:
        told = "nothing"
    assert 0 < len(told) < 1000
    assert time.process_time() - start < 5  # less than one where nothing else runs


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_place_survives_pickling_without_its_file() -> None:
    error = error_of(lambda: parse(b"FROM base\n\nCOPPY a b\n", "Dockerfile"))
    copy = pickle.loads(pickle.dumps(error))
    assert copy.where.describe() == "Dockerfile:3\n  COPPY a b\n  ^^^^^"


def test_a_place_shows_no_control_characters() -> None:
    error = error_of(lambda: parse("FROM base\n\x1b[2J\u202e\tx\n".encode(), "Dockerfile"))
    assert error.where is not None
    assert error.where.describe() == "Dockerfile:2\n  \ufffd[2J\ufffd\tx\n  ^^^^^"


def test_a_place_in_a_continued_line_is_that_of_its_own_line() -> None:
    error = error_of(lambda: parse(b"FROM base\nCOPY a \\\n # c\n  --x=y \\\n\\\n\t<<E\nE\n", "Dockerfile"))
    assert error.where is not None
    assert error.where.describe() == "Dockerfile:6\n  \t<<E\n  \t^^^"


# -- details that have no golden folder --------------------------------------------------------------------------------


def test_no_stage_is_told_once() -> None:
    error = error_of(lambda: parse(b"RUN a\nRUN b\n", "D"))
    assert (error.message, error.also) == ("no build stage in current context", ())


def test_a_wrong_from_is_no_missing_from() -> None:
    assert error_of(lambda: parse(b"FROM a b\nRUN c\n", "D")).also == ()


def test_a_value_knows_its_keyword_as_written() -> None:
    found = only("enV a b\n")
    assert isinstance(found, Env)
    assert (found.name, found.keyword, found.legacy) == ("ENV", "enV", True)


def test_an_empty_healthcheck_flag_is_none() -> None:
    found = only("HEALTHCHECK --interval= --retries= CMD x\n")
    assert isinstance(found, Healthcheck)
    assert (found.interval, found.retries) == (0, 0)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1ns", 1),
        ("1us", 1000),
        ("1µs", 1000),
        ("1μs", 1000),
        ("1.5s", 1_500_000_000),
        ("1h1m1s1ms", 3_661_001_000_000),
        ("+5m", 300_000_000_000),
        ("-1.5h", -5_400_000_000_000),
        (".5s", 500_000_000),
        ("5.s", 5_000_000_000),
        ("9223372036854775807ns", 9223372036854775807),
    ],
)
def test_durations_are_gos(text: str, nanoseconds: int) -> None:
    assert duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", ".s", "-", "1x", "1 s", "1s ", "9223372036854775808ns", "٣s", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^time: (invalid duration|missing unit|unknown unit)"):
        duration(text)


def test_integers_are_gos() -> None:
    assert [integer(text, 32) for text in ("0", "+7", "-007", "2147483647")] == [0, 7, -7, 2147483647]
    for text in ("", "1_0", "٣", " 1", "2147483648"):
        with pytest.raises(ValueError, match=r"^strconv.ParseInt"):
            integer(text, 32)


# -- lint options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("", CheckDirective()),
        ("skip=all", CheckDirective(skip=ALL)),
        (" skip = A , B ;error=TRUE", CheckDirective(skip=frozenset({"A", "B"}), error=True)),
        ("experimental=all;error=0", CheckDirective(experimental=ALL)),
        ("skip=A;experimental=B;error=1", CheckDirective(skip=frozenset("A"), error=True, experimental=frozenset("B"))),
    ],
)
def test_check_options_are_read(text: str, check: CheckDirective) -> None:
    assert parse_check(text) == check


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'failed to parse check options: invalid check option "skip"'),
        ("foo=1", 'failed to parse check options: invalid check option "foo"'),
        ("error=maybe", 'failed to parse check options: failed to parse check option "error=maybe": invalid syntax'),
    ],
)
def test_check_options_that_are_none_are_refused(text: str, message: str) -> None:
    assert error_of(lambda: parse_check(text)).message == message


def test_which_rules_are_heeded() -> None:
    check = parse_check("skip=A;experimental=X").merged(parse_check("skip=B;error=true"))
    assert [check.heeds(rule) for rule in "ABC"] == [False, False, True]
    assert (check.heeds("X", experimental=True), check.heeds("Y", experimental=True)) == (True, False)
    assert not check.error
    assert not check.merged(parse_check("skip=all")).heeds("C")
    assert check.merged(parse_check("experimental=all")).heeds("Y", experimental=True)


def test_there_are_twenty_two_rules() -> None:
    assert len(set(RULES)) == 22
    assert set(RULES) > EXPERIMENTAL
    assert documentation("JSONArgsRecommended") == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
