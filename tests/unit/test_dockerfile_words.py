"""Quoting, escapes and variables of a word."""

from __future__ import annotations

import time

import pytest

from builder.dockerfile.quoting import quoted
from builder.dockerfile.source import SourceFile, Span
from builder.dockerfile.words import Expansion, examine, expand, expand_words
from builder.errors import DockerfileError

ENV = {"HOME": "/home", "V": "1.2.3", "EMPTY": "", "PATHS": "/a/b/c.tar.gz", "TWO": "x  y", "길": "로", "GLOB": "b*"}


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a 'b c' \"d e\"", "a b c d e"),
        ("it\\'s", "it's"),
        ("'it\\'", "it\\"),
        ('"a\\tb"', "a\\tb"),
        ('"a\\"b\\$HOME\\\\"', 'a"b$HOME\\'),
        ("a\\tb", "atb"),
        ("end\\", "end"),
        ("end\\\\", "end\\"),
        ("'$HOME'\"$HOME\"$HOME", "$HOME/home/home"),
        ("\\$HOME \\\\$HOME", "$HOME \\/home"),
        ("$HOMEdir ${HOME}dir", " /homedir"),
        ("$. $ $$x $1a $10b $@c", "$. $ x a b c"),
        ("$길/${길}", "로/로"),
        ("${UNSET}|${EMPTY}", "|"),
        ("${UNSET:-d}${EMPTY:-d}${V:-d}", "dd1.2.3"),
        ("${UNSET-d}${EMPTY-d}${V-d}", "d1.2.3"),
        ("${UNSET:+d}${EMPTY:+d}${V:+d}", "d"),
        ("${UNSET+d}${EMPTY+d}${V+d}", "dd"),
        ("${V?m}${V:?m}${EMPTY?m}", "1.2.31.2.3"),
        ("${UNSET:-${EMPTY:-'deep er'}}", "deep er"),
        ("${UNSET:-\\}}", "}"),
        ('"${UNSET:-a "b" c}"', "a b c"),
        ("${PATHS#*/}", "a/b/c.tar.gz"),
        ("${PATHS##*/}", "c.tar.gz"),
        ("${PATHS%.*}", "/a/b/c.tar"),
        ("${PATHS%%.*}", "/a/b/c"),
        ("${PATHS%/?.*}", "/a/b"),
        ("${PATHS#x}${V%\\*}", "/a/b/c.tar.gz1.2.3"),
        ("${V#}${V##}${V%}", "1.2.31.2.31.2.3"),
        ("${PATHS/\\//-}", "-a/b/c.tar.gz"),
        ("${PATHS//\\//-}", "-a-b-c.tar.gz"),
        ("${PATHS//./}", "/a/b/ctargz"),
        ("${V/?./<&>}", "<&>2.3"),
        ("${V//[.]/x}", "1.2.3"),
        ("${PATHS/$GLOB/X}", "/a/X"),
        ("${UNSET/a/b}", ""),
        ("a<b <<EOF <<  X", "a<b <<EOF <<  X"),
        ("\ufeffx", "x"),
        ("lost \udce9 byte", "lost \ufffd byte"),
    ],
)
def test_a_word_comes_to_its_text(word: str, text: str) -> None:
    assert expand(word, ENV) == text


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a' 'b c", ["a b", "c"]),
        ("$TWO", ["x", "y"]),
        ('"$TWO"', ["x  y"]),
        ("a${TWO}b", ["ax", "yb"]),
        ("a\\ b '' \"\"", ["a b"]),
        (" \u3000 ", []),
        ("$UNSET", []),
        # The part before a substitution with an operand is lost, as in BuildKit.
        ("80${UNSET:-81}", ["81"]),
    ],
)
def test_a_word_falls_into_words_where_spaces_are_bare(word: str, words: list[str]) -> None:
    assert expand_words(word, ENV) == words


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'x", "unexpected end of statement while looking for matching single-quote"),
        ('"x', "unexpected end of statement while looking for matching double-quote"),
        ('"x\\', "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${x", "syntax error: missing '}'"),
        ("${x:", "syntax error: missing '}'"),
        ("${x:-a", "syntax error: missing '}'"),
        ("${x:-${y}", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${:-x}", "syntax error: bad substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        ("${x:y}", "unsupported modifier (:y) in substitution"),
        ("${x=y}", "unsupported modifier (=) in substitution"),
        ("${x:=y}", "unsupported modifier (:=) in substitution"),
        ("${x:#y}", "unsupported modifier (:#) in substitution"),
        ("${x?}", "x: is not allowed to be unset"),
        ("${x:?}", "x: is not allowed to be unset"),
        ("${x:?say $V}", "x: say 1.2.3"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${V/a}", "syntax error: missing '/' in ${}"),
        ("${V/a/b", "syntax error: missing '}'"),
        ("${V#\\a}", "invalid pattern (\\a) in substitution: invalid escape '\\a'"),
        ("${V//\\\\\\/x}", "syntax error: missing '/' in ${}"),
    ],
)
def test_a_mistake_in_a_word_is_told(word: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        expand(word, ENV)
    assert caught.value.message == f"failed to process {quoted(word)}: {message}"
    assert caught.value.code == "bad-substitution"


def test_the_mistake_stands_where_the_caller_says() -> None:
    where = Span(SourceFile("Dockerfile", ("ENV A=${",)), 1, 6, 1, 8)
    with pytest.raises(DockerfileError) as caught:
        expand("${", {}, where=where)
    assert caught.value.where is where


def test_a_mistake_shows_no_control_characters_and_no_endless_word() -> None:
    with pytest.raises(DockerfileError) as caught:
        expand("\x1b[2J" + "x" * 500 + "'", {})
    assert caught.value.message.startswith('failed to process "\\x1b[2Jxxx')
    assert len(caught.value.message) < 320


def test_which_variables_were_used_is_told() -> None:
    assert examine("${V:-$A} $B ${EMPTY:+$C} $V", ENV) == Expansion(
        text="1.2.3   1.2.3", words=("1.2.3", "1.2.3"), used=("V", "EMPTY"), unset=("A", "B", "C")
    )


def test_the_backtick_can_be_the_escape_character() -> None:
    assert expand('C:\\x`$HOME "`"" a` b', ENV, escape="`") == 'C:\\x$HOME " a b'


def test_raw_quotes_group_and_stay() -> None:
    found = examine("'a b'\"$V\" c", ENV, raw_quotes=True)
    assert (found.text, found.words) == ("'a b'\"1.2.3\" c", ("'a b'\"1.2.3\"", "c"))


def test_unset_variables_can_be_left_as_written() -> None:
    word = "$A ${A} ${A:-$V} ${A#x} ${A/x/y} $V"
    assert expand(word, ENV, skip_unset=True) == "$A ${A} ${A:-1.2.3} ${A#x} ${A/x/y} 1.2.3"


def test_quotes_are_text_in_a_heredoc() -> None:
    assert expand('it\'s "$V" \\$V', ENV, skip_quotes=True) == 'it\'s "1.2.3" $V'


def test_escapes_can_be_kept() -> None:
    assert expand("a\\ b", ENV, raw_escapes=True) == "a\\ b"


def test_the_dollar_of_a_replacement_means_what_it_means_in_go() -> None:
    env = {"V": "aXbX", "R": "[$0$1$$]"}
    assert expand("${V//X/$R}", env) == "a[X$]b[X$]"
    assert expand("${V/X/$R}", env) == "a[$0$1$$]bX"


def test_an_empty_pattern_matches_everywhere_but_behind_a_match() -> None:
    env = {"V": "abxd", "E": "", "S": "x*"}
    assert expand("${V//$E/-}", env) == "-a-b-x-d-"
    assert expand("${V/$E/-}", env) == "-abxd"
    assert expand("${V//$S/-}", env) == "ab-"


def test_a_newline_ends_what_a_wildcard_matches() -> None:
    assert expand("${V#*c}|${V##*a}|${V%%b*}", {"V": "ab\nca"}) == "ab\nca|b\nca|ab\nca"


def test_growth_is_bounded() -> None:
    env = {"A": "x" * 600_000}
    with pytest.raises(DockerfileError, match="the expanded text is too long"):
        expand("$A$A", env)
    with pytest.raises(DockerfileError, match="the result is too long"):
        expand("${A//x/yyyy}", env)


def test_depth_is_bounded() -> None:
    with pytest.raises(DockerfileError, match="substitutions are nested too deeply"):
        expand("${a:-" * 100_000, {})
    assert expand("${a:-" * 90 + "x" + "}" * 90, {}) == "x"


@pytest.mark.parametrize(
    "word",
    ["$" * 300_000, "${a:-x}" * 50_000, "'" * 300_000, '"$a"' * 50_000, "\\" * 300_000, "<" * 300_000, "a b" * 100_000],
)
def test_a_long_word_takes_time_in_proportion(word: str) -> None:
    start = time.process_time()
    expand_words(word, {})
    assert time.process_time() - start < 3


def test_a_hostile_pattern_takes_no_time() -> None:
    start = time.process_time()
    env = {"A": "a" * 20_000, "P": "*a" * 200 + "b"}
    assert expand("${A#$P}${A%%$P}${A//$P/x}", env) == env["A"] * 3
    assert time.process_time() - start < 3
