"""Which paths a .dockerignore leaves out."""

from __future__ import annotations

import contextlib
import random
import re
import time

import pytest

from builder.dockerfile import ignore_patterns
from builder.dockerfile.ignore import Decision, IgnoreFile
from builder.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("", "", "a a/b"),
        ("foo", "foo foo/a foo/b/c", "foob a/foo"),
        ("/foo/\n./bar/../baz\n  spaced  ", "foo foo/x baz spaced", "bar foo.x"),
        ("../out\n..", "", "out a"),
        ("/", "", "a"),
        (".", "", "a"),
        ("*.md", "a.md", "x/a.md a.mdx"),
        ("*/*.md", "x/a.md", "a.md x/y/a.md"),
        ("**/*.md", "a.md x/a.md x/y/a.md", "a.mdx"),
        ("foo/**", "foo/a foo/b/c", "foo fooa"),
        ("foo**", "foo fooa foo/a", "afoo"),
        ("**", "a a/b", ""),
        ("**/", "a a/b", ""),
        ("**/foo", "foo a/foo a/foo/b a/b/foo", "xfoo foob a/xfoo"),
        ("**foo", "foo xfoo a/xfoo", "foob"),
        ("**foo**", "foo foox a/foox/y", "fo xfoo"),
        ("a/*/c", "a/b/c a/b/c/d", "a/c a/b/d/c"),
        ("a/**/c", "a/c a/b/c a/b/d/c", "a/b/d a/bc xa/c"),
        ("a**b", "ab a/b a/x/b", "axb a/xb"),
        ("[a-c]x\n?y", "ax bx zy", "dx zyy"),
        ("[^a]x", "bx", "ax"),
        ("\\*z\n\\[q", "*z [q", "az q"),
        ("a.c\na+\n(b)|{c}$^", "a.c a+ (b)|{c}$^", "abc aa"),
        ("# comment\n #b\n\n", "#b", "# comment"),
        ("\ufeffa", "a", "b"),
        ("a\r\nb\r\n", "a b", "c"),
        ("*.md\n!README.md", "a.md", "README.md"),
        ("!README.md\n*.md", "README.md", "a"),
        ("*\n!docs\ndocs/x", "a docs/x docs/x/y", "docs docs/y"),
        ("docs\n!docs/README", "docs docs/x", "docs/README"),
        ("*\n!**/*.go", "a a/b.c", "a.go x/y.go"),
        ("*\n!src/**", "a src", "src/a src/b/c"),
        ("! spaced \nspaced\n!spaced", "", "spaced"),
        # As Windows paths are written: a word boundary, which matches nothing here.
        ("foo\\bar", "", "foo/bar foobar"),
        ("v\\d", "v1", "vd"),
    ],
)
def test_patterns_decide(text: str, ignored: str, kept: str) -> None:
    ignore = IgnoreFile.parse(text)
    assert [path for path in ignored.split() if not ignore.decide(path).ignored] == []
    assert [path for path in kept.split() if ignore.decide(path).ignored] == []


def test_the_pattern_with_the_last_word_is_told() -> None:
    ignore = IgnoreFile.parse("# what is left out\n*.log\n\n!keep.log\ntmp/\n", "sub/Dockerfile.dockerignore")
    assert ignore.decide("a.log") == Decision(True, 2, "*.log")
    assert ignore.decide("keep.log") == Decision(False, 4, "!keep.log")
    assert ignore.decide("tmp/a/keep.log") == Decision(True, 5, "tmp")
    assert ignore.decide("a") == Decision(False, 0, "")
    assert ignore.name == "sub/Dockerfile.dockerignore"


def test_a_name_may_hold_bytes_that_are_no_text() -> None:
    assert IgnoreFile.parse("*.\udce9").decide("caf.\udce9").ignored


def test_which_folders_must_be_entered_although_left_out() -> None:
    plain = IgnoreFile.parse("*\n!src\n!a/b/c\n!d/**")
    assert [plain.may_take_back_below(path) for path in ("x", "a", "a/b", "a/b/c", "a/x", "d")] == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]
    assert IgnoreFile.parse("*\n!*/x").may_take_back_below("anything")
    assert not IgnoreFile.parse("*").may_take_back_below("anything")


def test_a_pattern_that_was_not_tried_on_a_folder_is_not_remembered_for_what_is_in_it() -> None:
    # "a" is not tried on the folder, since "*" has left it out already; so it does not outlast "!a/b".
    assert not IgnoreFile.parse("*\n!a/b\n").decide("a/b/c").ignored
    assert IgnoreFile.parse("*\n!a/b\na/b/c\n").decide("a/b/c/d").ignored


def test_patterns_without_a_file() -> None:
    ignore = IgnoreFile.of(["*.md", "", "!a.md"])
    assert [ignore.decide(path).ignored for path in ("b.md", "a.md")] == [True, False]
    assert ignore.decide("b.md") == Decision(True, 0, "*.md")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[", "syntax error in pattern: a bracket is empty or not closed"),
        ("[]a", "syntax error in pattern: a bracket is empty or not closed"),
        ("a[b-]", "syntax error in pattern: a bracket is empty or not closed"),
        ("[-a]", "syntax error in pattern: a bracket is empty or not closed"),
        ("[a", "syntax error in pattern: a bracket is not closed"),
        ("x\\", "syntax error in pattern: nothing follows the last backslash"),
        ("[*]", "syntax error in pattern: '*' in brackets"),
        ("\\e", "syntax error in pattern: invalid escape sequence \\e"),
        ("[b-a]", "syntax error in pattern: bad character range b-a at position 1"),
        ("!", 'illegal exclusion pattern: "!"'),
        ("x" * 5000, "the pattern is too long"),
    ],
)
def test_a_pattern_that_is_none_is_shown(pattern: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        IgnoreFile.parse(f"ok\n{pattern}\n")
    assert caught.value.message == message
    assert caught.value.where is not None
    assert caught.value.where.describe() == f".dockerignore:2\n  {pattern[:160]}\n  {'^' * min(160, len(pattern))}"


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(DockerfileError, match="more than 10000 patterns"):
        IgnoreFile.parse("a\n" * 10_001)
    with pytest.raises(DockerfileError, match="the file has more than 1048576 characters"):
        IgnoreFile.parse("#" * 1_048_577)


def test_five_thousand_files_take_milliseconds() -> None:
    text = "**/node_modules *.log **/*.pyc .git build/ !docs/keep tmp/** docs/*.md a/b/c **/test_* foo? x[0-9]"
    ignore = IgnoreFile.parse(text.replace(" ", "\n"))
    paths = [f"src/pkg{i % 50}/sub{i % 7}/file_{i}.py" for i in range(5000)]
    start = time.process_time()
    assert not any(ignore.decide(path).ignored for path in paths)
    assert time.process_time() - start < 1  # 15 ms


@pytest.mark.parametrize("pattern", ["*a" * 40 + "b", "**/*a**/*b**c", "a**/" * 9 + "b", "x**/[a]*" * 5 + "y"])
def test_a_hostile_pattern_takes_no_time(pattern: str) -> None:
    ignore = IgnoreFile.parse(pattern)
    start = time.process_time()
    ignore.decide("/".join(["ab" * 100] * 20))
    ignore.decide("a" * 4000)
    assert time.process_time() - start < 2


def test_both_ways_to_match_agree_with_the_plain_expression() -> None:
    chance = random.Random(7)
    pieces = ["a", "b", "/", "*", "**", "**/", "?", "[ab]", "x"]
    for _ in range(3000):
        pattern = ignore_patterns.clean("".join(chance.choices(pieces, k=chance.randint(1, 7))))
        parts, kind = ignore_patterns._parts(pattern)
        if kind != ignore_patterns.REGEX:
            continue
        plain = re.compile("".join(parts) + r"\Z")
        bounded = re.compile("".join(ignore_patterns._bounded(parts)) + r"\Z")
        automaton = ignore_patterns._Automaton(parts)
        for _ in range(8):
            path = "".join(chance.choices("aabbx/", k=chance.randint(0, 9)))
            expected = plain.match(path) is not None
            assert (bounded.match(path) is not None) is expected, (pattern, path)
            assert (automaton.match(path) is not None) is expected, (pattern, path)


def test_deep_paths_do_not_recurse() -> None:
    assert IgnoreFile.parse("*\n!a").decide("b/" * 20_000 + "c").ignored


def test_a_range_that_runs_backwards_is_refused_wherever_it_stands() -> None:
    for text in ("[b-a]", "*[a-/]*****", "x/[z-a]*"):
        with pytest.raises(DockerfileError) as caught:
            IgnoreFile.parse(text)
        assert caught.value.code == "bad-ignore-pattern"


PIECES = ("a", "b", "ab", "*", "**", "?", "/", "[ab]", "\\*", "!", ".x", "***", "]")


def _random_patterns(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    lines: list[str] = []
    while len(lines) < count:
        line = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 7)))
        with contextlib.suppress(DockerfileError):
            IgnoreFile.of([line])
            lines.append(line)
    return lines


@pytest.mark.parametrize("seed", range(20))
def test_of_many_patterns_those_that_match_are_found_as_of_few(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _random_patterns(seed, 30)
    chance = random.Random(seed)
    paths = {"/".join(chance.choice(("a", "b", "ab", "ba.x", "*", "]a")) for _ in range(1 + n % 4)) for n in range(300)}
    few = IgnoreFile.of(lines)
    monkeypatch.setattr("builder.dockerfile.ignore._FEW", 0)
    many = IgnoreFile.of(lines)
    assert few._index is None
    assert many._index is not None
    assert [few.decide(path) for path in sorted(paths)] == [many.decide(path) for path in sorted(paths)]


@pytest.mark.parametrize("sign", ["", "!"])
def test_of_many_patterns_few_are_tried(sign: str) -> None:
    lines = [sign * (n % 2) + f"*-{n:05}-*.[ch]" for n in range(9_000)]
    file = IgnoreFile.parse("\n".join(lines))
    assert file._index is not None
    assert sum(map(len, file._index.likely("src/x-01234-y.c").values())) < 100
    assert file.decide("x-01234-y.c") == Decision(True, 1235, "*-01234-*.[ch]")
    assert file.decide("x-01235-y.c") == Decision(
        not sign, 1236 if not sign else 0, "*-01235-*.[ch]" if not sign else ""
    )


def test_folders_that_something_is_taken_back_from_are_found_among_many() -> None:
    lines = ["*", *(f"!keep{n}/deep/file" for n in range(5_000))]
    file = IgnoreFile.parse("\n".join(lines))
    assert file.may_take_back_below("keep17")
    assert file.may_take_back_below("keep17/deep")
    assert not file.may_take_back_below("keep17/deeper")
    assert not file.may_take_back_below("keep")
