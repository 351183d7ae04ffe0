"""The planner's small tables: names, paths, ports, git references, and the formats of the history."""

from __future__ import annotations

import pytest

from builder.dockerfile.quoting import quoted
from builder.plan.git import BadGitRef, GitRef, parse_git
from builder.plan.history import duration, quoted_list, run_text
from builder.plan.nearest import nearest
from builder.plan.paths import as_target, below, clean, clean_relative
from builder.plan.ports import BadPort, parse_ports
from builder.plan.scope import proxy_env


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("biulder", "builder"),
        ("buildr", "builder"),
        ("builder", ""),
        ("bxyzder", ""),
        ("tset", "test"),
        ("", ""),
        ("x" * 10_000, ""),
    ],
)
def test_the_nearest_name_differs_in_at_most_two_letters(word: str, meant: str) -> None:
    assert nearest(word, ["builder", "test"]) == meant


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("/", "/"), ("//a/./b//", "/a/b"), ("/a/../..", "/"), ("", "/"), ("a/..", "/")],
)
def test_an_absolute_path_is_cleaned(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@pytest.mark.parametrize(("path", "cleaned"), [("", "."), ("../a/b/..", "../a"), ("a//b/.", "a/b"), ("/a/..", "/")])
def test_a_relative_path_stays_relative(path: str, cleaned: str) -> None:
    assert clean_relative(path) == cleaned


def test_only_a_relative_path_is_joined() -> None:
    assert below("/srv", "a/../b") == "/srv/b"
    assert below("/srv", "/a/../b") == "/a/../b"
    assert below("/srv", "") == "/srv"


@pytest.mark.parametrize(
    ("written", "target"),
    [
        (".", ("/srv", True)),
        ("", ("/srv", True)),
        ("./", ("/srv", True)),
        ("..", ("/", False)),
        ("a", ("/srv/a", False)),
        ("a/", ("/srv/a", True)),
        ("a/.", ("/srv/a", True)),
        ("/b//c/", ("/b/c", True)),
        ("/", ("/", True)),
    ],
)
def test_a_copy_target_is_a_folder_if_it_ends_in_a_slash_or_a_dot(written: str, target: tuple[str, bool]) -> None:
    assert as_target("/srv", written) == target


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ("80/tcp",)),
        ("80/udp", ("80/udp",)),
        ("80/UDP", ("80/udp",)),
        ("80/", ("80/tcp",)),
        ("7000-7002/tcp", ("7000/tcp", "7001/tcp", "7002/tcp")),
        ("5-5", ("5/tcp",)),
        ("8080:80", ("80/tcp",)),
        ("8000-8001:80-81/sctp", ("80/sctp", "81/sctp")),
        ("8000-8010:80", ("80/tcp",)),
        ("127.0.0.1:8080:80", ("80/tcp",)),
        ("[::1]:8080:80", ("80/tcp",)),
        ("::1:8080:80", ("80/tcp",)),
        ("0", ("0/tcp",)),
        ("65535", ("65535/tcp",)),
    ],
)
def test_ports_are_listed_one_by_one(text: str, ports: tuple[str, ...]) -> None:
    assert parse_ports(text).ports == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'invalid port: "": no port specified'),
        ("/tcp", 'invalid port: "/tcp": no port specified'),
        ("80/icmp", 'invalid port: "80/icmp": invalid proto: icmp'),
        ("65536", "invalid containerPort: 65536"),
        ("-1", "invalid containerPort: -1"),
        ("9-7", "invalid containerPort: 9-7"),
        ("http", "invalid containerPort: http"),
        ("x:80", "invalid hostPort: x"),
        ("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
        ("nowhere:1:80", "invalid IP address: nowhere"),
        ("[fe80::1%eth0]:1:80", "invalid IP address: fe80::1%eth0"),
    ],
)
def test_a_wrong_port_is_named(text: str, message: str) -> None:
    with pytest.raises(BadPort) as caught:
        parse_ports(text)
    assert str(caught.value) == message


COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://example.com/a/b.git", GitRef(remote="https://example.com/a/b.git")),
        ("https://example.com/a/b.git#v1", GitRef(remote="https://example.com/a/b.git", ref="v1")),
        (
            "https://example.com/b.git#feature/x:/sub/../dir/",
            GitRef(remote="https://example.com/b.git", ref="feature/x", subdir="dir"),
        ),
        ("git@example.com:a/b.git#main", GitRef(remote="git@example.com:a/b.git", ref="main")),
        ("git@example.com:a/b?branch=x", GitRef(remote="git@example.com:a/b", ref="refs/heads/x")),
        ("ssh://git@example.com:22/b", GitRef(remote="ssh://git@example.com:22/b")),
        ("git://example.com/b", GitRef(remote="git://example.com/b")),
        (
            f"https://example.com/b.git?tag=v1&subdir=s&commit={COMMIT}&keep-git-dir&submodules=false",
            GitRef(
                remote="https://example.com/b.git",
                ref="refs/tags/v1",
                subdir="s",
                checksum=COMMIT,
                keep_git_dir=True,
                submodules=False,
            ),
        ),
        (
            f"https://example.com/b.git?checksum={COMMIT}&fetch-by-commit=1&mtime=commit",
            GitRef(remote="https://example.com/b.git", checksum=COMMIT, fetch_by_commit=True, commit_times=True),
        ),
        ("https://example.com/b.git?ref=refs/heads/x", GitRef(remote="https://example.com/b.git", ref="refs/heads/x")),
    ],
)
def test_a_git_repository_is_taken_apart(text: str, found: GitRef) -> None:
    assert parse_git(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/file.tar",
        "http://example.com/x.git/y",
        "github.com/a/b.git",
        "file.git",
        "./a@b:c",
        "ftp://h/b.git",
    ],
)
def test_what_is_no_git_repository(text: str) -> None:
    assert parse_git(text) is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("colour=red", 'unexpected query "colour"'),
        ("ref=a&ref=b", 'query "ref" has multiple values'),
        ("ref=", 'query "ref" has no value'),
        ("tag=a&branch=b", "branch conflicts with tag"),
        ("ref=a&tag=b", 'ref conflicts: "a" vs "refs/tags/b"'),
        ("keep-git-dir=perhaps", 'invalid keep-git-dir value: "perhaps"'),
        ("mtime=never", 'invalid mtime value: "never" (must be "checkout" or "commit")'),
    ],
)
def test_a_wrong_query_is_named(query: str, message: str) -> None:
    with pytest.raises(BadGitRef) as caught:
        parse_git(f"https://example.com/b.git?{query}")
    assert str(caught.value) == message


def test_fragment_and_query_must_agree() -> None:
    with pytest.raises(BadGitRef) as caught:
        parse_git("https://example.com/b.git?subdir=x#main:y")
    assert str(caught.value) == 'subdir conflicts: "y" vs "x"'


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (500_000_000, "500ms"),
        (1_500_000_000, "1.5s"),
        (90_000_000_000, "1m30s"),
        (300_000_000_000, "5m0s"),
        (3_600_000_000_000, "1h0m0s"),
        (5_432_100_000_000, "1h30m32.1s"),
        (-2_000_000_000, "-2s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain é", '"plain é"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\x01\x7f", '"\\x01\\x7f"'),
        ("\u00a0\u200b\U000e0001", '"\\u00a0\\u200b\\U000e0001"'),
        ("\udcff", '"\\xff"'),
    ],
)
def test_words_are_quoted_as_go_quotes_them(text: str, written: str) -> None:
    assert quoted(text) == written


def test_an_empty_list_is_a_pair_of_brackets() -> None:
    assert quoted_list(()) == "[]"


def test_a_command_stands_after_its_arguments_each_once() -> None:
    args = [("A", None), ("B", "2"), ("A", "1")]
    assert run_text(("sh", "-c", "x"), args, {"B": "3", "C": "4"}) == "|2 A=1 B=3 sh -c x"


def test_proxies_are_given_in_both_cases() -> None:
    given = {"HTTP_PROXY": "http://p", "no_proxy": "a,b", "FTP_PROXY": "", "OTHER": "x"}
    assert proxy_env(given) == ("HTTP_PROXY=http://p", "http_proxy=http://p", "NO_PROXY=a,b", "no_proxy=a,b")
