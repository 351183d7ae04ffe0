"""Whatever the bytes are: a result or a DockerfileError, in time that is bounded.

Ten minutes of it: ``FUZZ_SECONDS=600 pytest tests/unit/test_dockerfile_fuzz.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.dockerfile.ignore import IgnoreFile
from builder.dockerfile.instructions import Dockerfile, Instruction, Onbuild, Word
from builder.dockerfile.lint import lint
from builder.dockerfile.parse import parse, parse_trigger
from builder.dockerfile.source import Span
from builder.dockerfile.words import examine
from builder.errors import DockerfileError

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
ROUGH = settings(
    max_examples=1_000_000 if SECONDS else 150,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

KEYWORDS = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
    "FOO",
    "run",
]
PIECES = [
    "a",
    "b",
    "=x",
    "A=1",
    "'q'",
    '"d"',
    "'",
    '"',
    "\\",
    "`",
    "$A",
    "${A}",
    "${A:-b}",
    "${A#*}",
    "${",
    "}",
    "[",
    "]",
    '["a"]',
    '["a",1]',
    "{}",
    ",",
    ":",
    "--",
    "--from=a",
    "--mount=type=bind",
    "--mount=type=cache,id=$x",
    "--mount",
    "--link",
    "--chmod=1",
    "--interval=1s",
    "--retries=3",
    "--platform=$P",
    "CMD",
    "NONE",
    "AS",
    "as",
    "<<E",
    "<<-E",
    "<<'E'",
    "3<<E",
    "<<",
    "<<<",
    "#",
    "#x",
    "\t",
    "\x00",
    "é",
    "\ud7ff",
    "😀",
    "\xa0",
    "\u3000",
    "\r",
]
LINES = st.builds(
    lambda keyword, space, pieces, end: keyword + space + "".join(pieces) + end,
    st.sampled_from([*KEYWORDS, "", "# ", "# escape=`", "# check=skip=all", "E", "\tE", "  "]),
    st.sampled_from([" ", "", "\t", "  "]),
    st.lists(st.sampled_from([*PIECES, " ", " ", " "]), max_size=12),
    st.sampled_from(["\n", "\n", "\n", "\\\n", "`\n", "\\  \n", "\r\n", ""]),
)
FILES = st.one_of(
    st.lists(LINES, max_size=12).map(lambda lines: "".join(lines).encode("utf-8", "surrogatepass")),
    st.lists(LINES, max_size=8).map(lambda lines: b"FROM base\n" + "".join(lines).encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.tuples(st.lists(LINES, max_size=4), st.binary(max_size=20)).map(lambda t: "".join(t[0]).encode() + t[1]),
)
WORDS = st.one_of(
    st.lists(st.sampled_from([*PIECES, "${", "}", "/", "%", "?", ":"]), max_size=20).map("".join), st.text()
)
NAMES = st.lists(
    st.sampled_from(["*", "**", "**/", "/", "a", "b", ".", "..", "?", "[", "]", "^", "-", "!", "\\", "#", " ", "\n"])
)


def bounded(work: Callable[[], object]) -> None:
    """Run *work*; only a DockerfileError with a place that can be shown may come out, and soon."""
    start = time.process_time()
    try:
        work()
    except DockerfileError as error:
        for each in (error, *error.also):
            assert "\n" not in each.message
            assert each.where is None or each.where.describe()
    assert time.process_time() - start < 5


def check(instruction: Instruction) -> None:
    """Every word stands in its file, where its span says."""
    for name in type(instruction).__dataclass_fields__:
        value = getattr(instruction, name)
        for word in value if isinstance(value, tuple) else (value,):
            if isinstance(word, Word):
                inside(word.span)
    inside(instruction.span)
    if isinstance(instruction, Onbuild):
        parse_trigger(instruction.trigger)


def inside(span: Span) -> None:
    assert 1 <= span.line <= span.end_line <= len(span.file.lines)
    assert 0 <= span.column <= len(span.file.lines[span.line - 1])
    assert 0 <= span.end_column <= len(span.file.lines[span.end_line - 1])
    assert span.line != span.end_line or span.column <= span.end_column


def whole(data: bytes) -> None:
    dockerfile: Dockerfile = parse(data, "Dockerfile")
    lint(dockerfile)
    for stage in dockerfile.stages:
        for instruction in (stage.origin, *stage.instructions):
            check(instruction)


def timed(test: Callable[[], None]) -> None:
    """Run a hypothesis test, over and over if FUZZ_SECONDS says how long."""
    start = time.perf_counter()
    test()
    while time.perf_counter() - start < SECONDS / 4:
        test()


def test_any_bytes_are_parsed_or_refused() -> None:
    @settings(ROUGH, max_examples=400)
    @given(FILES)
    def run(data: bytes) -> None:
        bounded(lambda: whole(data))

    timed(run)


def test_any_text_is_a_trigger_or_refused() -> None:
    @settings(ROUGH, max_examples=200)
    @given(st.lists(LINES, max_size=4).map("".join))
    def run(text: str) -> None:
        bounded(lambda: parse_trigger(text))

    timed(run)


def test_any_word_is_expanded_or_refused() -> None:
    @settings(ROUGH, max_examples=400)
    @given(WORDS, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["\\", "`"]))
    def run(word: str, a: bool, b: bool, c: bool, d: bool, escape: str) -> None:
        env = {"A": "x y", "b": "", "a": "*"}
        bounded(lambda: examine(word, env, raw_quotes=a, raw_escapes=b, skip_quotes=c, skip_unset=d, escape=escape))

    timed(run)


def test_any_ignore_file_decides_or_is_refused() -> None:
    @settings(ROUGH, max_examples=300)
    @given(NAMES.map("".join), st.lists(st.text("ab/.*", max_size=12), max_size=4))
    def run(text: str, paths: list[str]) -> None:
        def work() -> None:
            ignore = IgnoreFile.parse(text)
            for path in paths:
                ignore.decide(path)
                ignore.may_take_back_below(path)

        bounded(work)

    timed(run)


def test_an_expansion_without_variables_of_a_plain_word_is_the_word() -> None:
    @settings(ROUGH, max_examples=100)
    @given(st.text(st.characters(codec="utf-8", exclude_characters="$<'\"\\\ufeff")))
    def run(word: str) -> None:
        assert examine(word, {}).text == word

    run()


@pytest.mark.parametrize("character", ["'", '"', "\\", "$", "{", "}", "[", "<", "`", "=", "#", "\t", ",", "-"])
def test_one_character_many_times_is_no_trouble(character: str) -> None:
    for prefix in (
        "",
        "FROM a\nRUN ",
        "FROM a\nENV A=",
        "FROM a\nCOPY ",
        "FROM a\nHEALTHCHECK --",
        "FROM a\nRUN --mount=",
    ):
        bounded(lambda text=prefix + character * 60_000: whole(text.encode()))  # type: ignore[misc]  # bound at once
