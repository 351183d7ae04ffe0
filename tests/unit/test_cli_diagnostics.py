from __future__ import annotations

import errno

import pytest

from builder.cli.diagnostics import Style, draw, of_system
from builder.dockerfile.source import SourceFile, Span
from builder.errors import BuilderError, CommandFailed, DockerfileError, InternalError, UsageError

FILE = SourceFile("Dockerfile", ("FROM scratch", "COPY --from=biulder /out /usr/bin/", "RUN\tmake"))


def test_an_error_shows_its_place_and_what_to_do() -> None:
    error = DockerfileError(
        'no stage is called "biulder"',
        code="unknown-stage",
        where=Span(FILE, 2, 12, 2, 19),
        hint="stages before this line: builder, assets",
    )
    assert draw(error) == (
        'error[unknown-stage]: no stage is called "biulder"\n'
        "  Dockerfile:2\n"
        "    COPY --from=biulder /out /usr/bin/\n"
        "                ^^^^^^^\n"
        "hint: stages before this line: builder, assets\n"
    )


def test_all_errors_of_one_run_are_shown_each_once() -> None:
    third = UsageError("three", code="c")
    second = UsageError("two", code="b", also=(third,))
    first = UsageError("one", code="a", also=(second, third))
    assert draw(first) == "error[a]: one\nerror[b]: two\nerror[c]: three\n"


def failed(message: str) -> CommandFailed:
    return CommandFailed(message, code="command-failed", exit_code=7, where=Span(FILE, 3, 0, 3, 8))


@pytest.mark.parametrize("message", ["the command failed", "the command failed: exit code: 7"])
def test_a_failed_command_shows_its_exit_code_once_and_its_last_output(message: str) -> None:
    assert draw(failed(message), title="[2/3] RUN make", tail=["cc hello.c", "hello.c:1: error"]) == (
        "last output of [2/3] RUN make:\n"
        "  | cc hello.c\n"
        "  | hello.c:1: error\n"
        "error[command-failed]: the command failed: exit code: 7\n"
        "  Dockerfile:3\n"
        "    RUN\tmake\n"
        "    ^^^^^^^^\n"
    )


def test_output_belongs_to_failed_commands_only() -> None:
    assert draw(UsageError("x", code="y"), title="t", tail=["line"]) == "error[y]: x\n"


def test_our_own_mistake_asks_to_be_reported() -> None:
    assert draw(InternalError("no such state", code="internal")) == (
        "error[internal]: no such state\n"
        "hint: this is a mistake of pybuild: please report it, with what --debug shows\n"
    )


def test_an_error_steers_no_terminal() -> None:
    assert draw(BuilderError("\x1b[2Jgone \x07", code="x", hint="a\x1b]0;t\x07b")) == (
        "error[x]: gone \\x07\nhint: ab\n"
    )


def test_colours_surround_the_head_and_the_message() -> None:
    assert draw(UsageError("x", code="y"), Style(True)) == "\x1b[31;1merror[y]\x1b[0m: \x1b[1mx\x1b[0m\n"


def test_an_error_of_the_system_has_its_name_as_code_and_a_hint_where_there_is_one() -> None:
    error = of_system(OSError(errno.ENOSPC, "No space left on device", b"/store/\xff"))
    assert draw(error) == (
        "error[enospc]: no space left on device: /store/\\xff\n"
        "hint: make room, or put the store elsewhere with --root; what was built so far is kept\n"
    )
    assert draw(of_system(TimeoutError("timed out"))) == "error[os-error]: timed out\n"


def test_only_a_working_folder_that_is_gone_is_missing_without_a_name():
    error = of_system(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    told = "error[no-working-folder]: the working folder is gone\nhint: change to a folder that is there: cd\n"
    assert draw(error) == told
    named = of_system(FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"))
    assert draw(named) == "error[enoent]: no such file or directory: /x\n"
