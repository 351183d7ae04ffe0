"""COPY and ADD: sources, target, flags and history."""

from __future__ import annotations

import pytest
from plans import copy_step, history, mistake, plan

from builder.plan.steps import ContextInput, GitTree, InlineFile, RemoteFile

SUM = "sha256:" + "0" * 64
COMMIT = "a" * 40


def test_sources_and_target_are_expanded() -> None:
    made = plan('FROM a\nENV D=/dst S="x y"\nCOPY $S *.txt "$D/"\n')
    step = copy_step(made)
    assert step.sources == ("x y", "*.txt")
    assert (step.target, step.target_is_folder) == ("/dst", True)
    assert step.input == ContextInput()
    assert history(made)[1:] == ["*COPY x y *.txt /dst/ # buildkit"]


def test_a_relative_target_is_below_the_working_folder() -> None:
    made = plan("FROM a\nWORKDIR /w\nCOPY a b\nCOPY a .\nCOPY a ../c/\n")
    assert [copy_step(made, i).target for i in range(3)] == ["/w/b", "/w", "/c"]
    assert [copy_step(made, i).target_is_folder for i in range(3)] == [False, True, True]


def test_a_source_that_expands_to_nothing_is_the_whole_context() -> None:
    assert copy_step(plan("FROM a\nCOPY $NONE /d/\n")).sources == (".",)


def test_flags_are_expanded_and_written_into_the_history() -> None:
    text = "FROM a\nARG O=app M=640\nCOPY --parents --link --exclude=$x --chmod=$M --chown=$O:1 a b/\n"
    made = plan(text)
    step = copy_step(made)
    assert (step.owner, step.mode, step.parents, step.excludes) == ("app:1", "640", True, ("$x",))
    assert history(made)[1:] == ["*COPY --parents --chown=app:1 --chmod=640 a b/ # buildkit"]


def test_flags_that_expand_to_nothing_say_nothing() -> None:
    made = plan("FROM a\nARG O M\nCOPY --chmod=$M --chown=$O a b\n")
    assert (copy_step(made).owner, copy_step(made).mode) == (None, None)
    assert history(made)[1:] == ["*COPY a b # buildkit"]


def test_a_layer_is_linked_unless_a_mode_is_set() -> None:
    made = plan("FROM a\nCOPY --link a b\nCOPY --link --chmod=1 a b\nCOPY --link=false a b\n")
    assert [copy_step(made, i).link for i in range(3)] == [True, False, False]


@pytest.mark.parametrize("mode", ["0", "07777", "755", "u+x", "u=rwX,go=rX", "+x", "a=", "=rw,+X", "go-w+t", "u=g"])
def test_modes(mode: str) -> None:
    assert copy_step(plan(f"FROM a\nCOPY --chmod={mode} a b\n")).mode == mode


@pytest.mark.parametrize(
    ("mode", "said"),
    [(mode, ". it should be octal string and between 0 and 07777") for mode in ("10000", "9", "8", "0x1")]
    + [(mode, ": invalid syntax") for mode in ("u", "rwx", "u+x,", "u+q", "-1")],
)
def test_what_is_no_mode(mode: str, said: str) -> None:
    error = mistake(f"FROM a\nCOPY --chmod={mode} a b\n")
    assert error.message == f"invalid chmod parameter: '{mode}'{said}"
    assert error.hint == "write it as 755, or as u=rwx,go=rx"


def test_here_documents_are_files_expanded_unless_quoted() -> None:
    text = "FROM a\nENV A=1\nCOPY <<one <<-\"two\" f /d/\n$A 'x' \\$A\none\n\t$A\ntwo\n"
    made = plan(text)
    assert copy_step(made).inline == (
        InlineFile(name="one", content="1 'x' $A\n"),
        InlineFile(name="two", content="$A\n"),
    )
    assert copy_step(made).sources == ("f",)
    assert history(made)[1:] == ["*COPY f <<one <<two /d/ # buildkit"]


def test_add_unpacks_local_archives() -> None:
    made = plan("FROM a\nADD a.tar /\nADD --unpack=false a.tar /\nADD --unpack https://example.com/a.tar /\nCOPY a /\n")
    assert [copy_step(made, i).unpack for i in range(4)] == [True, False, True, None]
    assert [copy_step(made, i).unpack_remote for i in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/f.txt", "f.txt"),
        ("http://example.com/a/f%20g?x=/y#z", "f g"),
        ("https://example.com", "__unnamed__"),
        ("https://example.com/", "__unnamed__"),
        ("https://example.com/a/", "a"),
        ("https://example.com/..", "__unnamed__"),
        ("http://[bad/x", "__unnamed__"),
    ],
)
def test_a_url_is_a_file_with_a_name(url: str, name: str) -> None:
    assert copy_step(plan(f"FROM a\nADD {url} /d/\n")).remote == (RemoteFile(url=url, name=name),)


def test_a_checksum_belongs_to_what_is_fetched() -> None:
    made = plan(f"FROM a\nADD --checksum={SUM} https://example.com/f /d/\n")
    assert copy_step(made).remote == (RemoteFile(url="https://example.com/f", name="f", checksum=SUM),)
    assert history(made) == ["*ADD https://example.com/f /d/ # buildkit"]


def test_a_repository_is_taken_apart() -> None:
    url = "https://example.com/r.git#v1:sub"
    made = plan(f"FROM a\nADD --keep-git-dir=true --checksum={COMMIT} {url} /d\n")
    assert copy_step(made).git == (
        GitTree(
            url=url,
            remote="https://example.com/r.git",
            ref="v1",
            subdir="sub",
            commit=COMMIT,
            keep_git_dir=True,
        ),
    )
    assert copy_step(made).sources == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("COPY https://example.com/f /", "source can't be a URL for COPY"),
        ("COPY git@example.com:a/b /", "source can't be a git ref for COPY"),
        (f"ADD --checksum={SUM} f /", "checksum requires HTTP(S) or Git sources"),
        (f"ADD --checksum={SUM} https://e.com/a https://e.com/b /", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=md5:1 https://example.com/f /", "invalid checksum: not a digest: 'md5:1'"),
        ("ADD https://example.com/r.git?x=1 /", 'unexpected query "x"'),
        (
            f"ADD --checksum=b https://example.com/r.git?commit={COMMIT} /",
            f'checksum mismatch "b" != "{COMMIT}"',
        ),
        (
            "ADD --keep-git-dir=false https://example.com/r.git?keep-git-dir=1 /",
            "inconsistent keep-git-dir configuration",
        ),
    ],
)
def test_sources_that_cannot_be(line: str, message: str) -> None:
    assert mistake(f"FROM a\n{line}\n").message == message
