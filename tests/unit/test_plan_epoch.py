"""SOURCE_DATE_EPOCH by the name of a source that has a time."""

from __future__ import annotations

import pytest
from plans import mistake, plan, run_step, workdir_step

from builder.dockerfile.parse import parse
from builder.plan.scope import dated_by
from builder.plan.steps import ContextInput, Datable, GitTree, Options, RemoteFile

FETCHES = "FROM scratch AS src\nADD https://example.com/src.tar /\n"
FILE = RemoteFile(url="https://example.com/src.tar", name="src.tar")


def asked(text: str, **options: object) -> Datable | None:
    return dated_by(parse(text.encode(), "Dockerfile"), Options(**options))  # type: ignore[arg-type]  # of many kinds


def wrong(text: str, **options: object) -> str:
    return mistake(text, **options).message


def test_a_number_and_nothing_ask_nobody() -> None:
    for build_args in ({}, {"SOURCE_DATE_EPOCH": ""}, {"SOURCE_DATE_EPOCH": "-5"}, {"SOURCE_DATE_EPOCH": "+5"}):
        assert asked("FROM scratch\n", build_args=build_args) is None
    assert asked("ARG SOURCE_DATE_EPOCH=7\nFROM scratch\n") is None
    assert asked("ARG SOURCE_DATE_EPOCH\nFROM scratch\n") is None


def test_context_is_the_main_context_whatever_else_has_the_name() -> None:
    text = "FROM scratch AS context\nADD https://example.com/f /\n"
    assert asked(text, build_args={"SOURCE_DATE_EPOCH": "context"}, contexts=frozenset({"context"})) == ContextInput()


def test_a_named_context_comes_before_a_stage() -> None:
    asks = {"SOURCE_DATE_EPOCH": "src"}
    assert asked(FETCHES, build_args=asks) == FILE
    assert asked(FETCHES, build_args=asks, contexts=frozenset({"src"})) == ContextInput(name="src")
    here = frozenset({"src::linux/amd64", "src"})
    assert asked(FETCHES, build_args=asks, contexts=here) == ContextInput(name="src::linux/amd64")


def test_the_build_argument_comes_before_the_files_default() -> None:
    text = f"ARG SOURCE_DATE_EPOCH=src\n{FETCHES}"
    assert asked(text) == FILE
    assert asked(text, build_args={"SOURCE_DATE_EPOCH": "5"}) is None
    assert asked(text, build_args={"SOURCE_DATE_EPOCH": ""}) is None
    assert asked(text, build_args={"SOURCE_DATE_EPOCH": "context"}) == ContextInput()


def test_the_default_is_expanded_as_any_other() -> None:
    text = f"ARG NAME=s\nARG SOURCE_DATE_EPOCH=${{NAME}}rc\n{FETCHES}"
    assert asked(text) == FILE


@pytest.mark.parametrize(
    ("text", "build_args", "source"),
    [
        ("FROM scratch AS src\nADD https://example.com/a/b.tgz?x=1 /\n", {}, ("https://example.com/a/b.tgz?x=1", "")),
        ("FROM $E AS src\nADD https://example.com/f /\n", {"E": "scratch"}, ("https://example.com/f", "")),
        ("FROM scratch AS src\nARG V=1\nADD https://example.com/$V /\n", {}, ("https://example.com/1", "")),
        ("FROM scratch AS src\nARG V=1\nADD https://example.com/$V /\n", {"V": "2"}, ("https://example.com/2", "")),
        ("FROM scratch AS src\nARG V=1 W=${V}0\nADD https://example.com/$W /\n", {}, ("https://example.com/10", "")),
        # What is global is seen without being declared again.
        ("FROM scratch AS src\nADD https://example.com/$E /\n", {"E": "3"}, ("https://example.com/3", "")),
        (
            "FROM scratch AS src\nARG S\nADD --checksum=$S https://example.com/f /\n",
            {"S": "sha256:" + "0" * 64},
            ("https://example.com/f", "sha256:" + "0" * 64),
        ),
    ],
)
def test_a_stage_that_fetches_one_file_is_that_file(
    text: str, build_args: dict[str, str], source: tuple[str, str]
) -> None:
    found = asked(f"ARG E=scratch\n{text}FROM a\n", build_args={"SOURCE_DATE_EPOCH": "src", **build_args})
    assert isinstance(found, RemoteFile)
    assert (found.url, found.checksum) == source


def test_a_stage_that_fetches_one_repository_is_that_repository() -> None:
    text = "FROM scratch AS src\nADD --keep-git-dir https://example.com/a.git#v1:sub /\n"
    assert asked(text, build_args={"SOURCE_DATE_EPOCH": "src"}) == GitTree(
        url="https://example.com/a.git#v1:sub",
        remote="https://example.com/a.git",
        ref="v1",
        subdir="sub",
        keep_git_dir=True,
    )


ONE = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("FROM a AS src\nADD https://example.com/f /\n", "SOURCE_DATE_EPOCH stage must use FROM scratch"),
        ("FROM scratch AS src\n", ONE),
        ("FROM scratch AS src\nADD https://example.com/f /\nADD https://example.com/g /\n", ONE),
        ("FROM scratch AS src\nADD https://example.com/f https://example.com/g /\n", f"{ONE} source"),
        ("FROM scratch AS src\nADD <<f /\nx\nf\n", f"{ONE} source"),
        ("FROM scratch AS src\nADD f /\n", "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD"),
        (
            "FROM scratch AS src\nCopy Dockerfile /\n",
            "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported Copy instruction",
        ),
        (
            "FROM scratch AS src\nENV A=1\nADD https://example.com/f /\n",
            "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported ENV instruction",
        ),
    ],
)
def test_a_stage_that_does_more_has_no_time(stage: str, message: str) -> None:
    error = mistake(f"{stage}FROM b\n", build_args={"SOURCE_DATE_EPOCH": "src"})
    assert (error.code, error.message) == ("invalid-epoch", message)
    assert error.where is not None
    assert error.where.describe().startswith("Dockerfile:1\n  FROM ")
    assert error.hint == "such a stage is FROM scratch, and one ADD of a URL or a git repository"


@pytest.mark.parametrize("text", ["yesterday", "Src", "1.5", "9999999999999999999", "a b"])
def test_a_name_of_nothing_is_refused(text: str) -> None:
    error = mistake(f"{FETCHES}FROM a\n", build_args={"SOURCE_DATE_EPOCH": text})
    assert (error.code, error.message) == ("invalid-epoch", f"invalid SOURCE_DATE_EPOCH: {text}")
    assert error.hint == "give it in seconds since 1970, or name a stage that fetches, a named context, or: context"


def test_the_time_that_is_found_takes_the_names_place() -> None:
    text = f"ARG SOURCE_DATE_EPOCH=src\n{FETCHES}FROM a\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\nRUN x\n"
    made = plan(text, moments={FILE: 1000000000})
    assert made.source_date_epoch == 1000000000
    assert made.target.config.created == "2001-09-09T01:46:40Z"
    assert "SOURCE_DATE_EPOCH=1000000000" in run_step(made).env
    assert workdir_step(made).epoch == 1000000000
    given = plan(text, moments={FILE: 5}, build_args={"SOURCE_DATE_EPOCH": "src"})
    assert "SOURCE_DATE_EPOCH=5" in run_step(given).env


def test_a_source_without_a_time_is_as_if_nothing_was_said() -> None:
    text = "ARG SOURCE_DATE_EPOCH=context\nFROM a\nARG SOURCE_DATE_EPOCH\nRUN x\n"
    made = plan(text, moments={ContextInput(): None})
    assert made.source_date_epoch is None
    assert run_step(made).env[1:] == ()
    assert plan(text, moments={ContextInput(): None}, source_date_epoch=3).source_date_epoch == 3
