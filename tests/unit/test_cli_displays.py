from __future__ import annotations

import json

import pytest
from worlds.terminal import Clock, Recorded, Screen

from builder.cli.diagnostics import PLAIN, Style
from builder.cli.display import Display, exported
from builder.cli.environment import wants_colours
from builder.cli.plain import Plain
from builder.cli.rawjson import RawJson
from builder.cli.render import display, mode_of
from builder.errors import CommandFailed, UsageError
from builder.events import (
    BuildFinished,
    Event,
    Exported,
    LintWarning,
    Note,
    PlanReady,
    Progress,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
)

FAILED = CommandFailed("the command failed", code="command-failed", exit_code=7)
HELLO = Exported("docker", "hello.tar", 4_100_000, ("hello:latest",), "sha256:1")


def told(kind: type[Display], *events: Event | float) -> tuple[Display, Recorded]:
    """A display that heard *events*; a number sets the clock forward."""
    out, clock = Recorded(), Clock()
    shown = kind(out, PLAIN, clock)
    for event in events:
        if isinstance(event, float):
            clock.now += event
        else:
            shown.emit(event)
    return shown, out


CASING = LintWarning(
    "FromAsCasing",
    "'as' and 'FROM' keywords' casing do not match",
    "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
    "Dockerfile:1\n  FROM x as y\n  ^^^^^^^^^^^",
    1,
)


def test_what_the_lint_rules_found_comes_last_and_once() -> None:
    shown, out = told(Plain, CASING, CASING, BuildFinished(1.5, 0, 0))
    shown.close()
    shown.close()
    assert out.text == (
        "1 warning found (--debug or --check tell more):\n"
        " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n"
        "built in 1.5s\n"
    )


def test_debugging_shows_where_warnings_stand_and_where_they_are_explained() -> None:
    shown, out = told(Plain, CASING)
    shown.details = True
    shown.close()
    assert out.text == (
        "1 warning found:\n"
        " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)\n"
        "More info: https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n"
        "Dockerfile:1\n"
        "  FROM x as y\n"
        "  ^^^^^^^^^^^\n"
        "\n"
    )


def test_a_plain_log_tells_a_build_from_its_plan_to_its_tarball() -> None:
    shown, out = told(
        Plain,
        PlanReady(3),
        Note("info", "isolation: overlay"),
        Note("warning", "the casing of FROM and as differs", "Dockerfile:1\n  FROM x As y\n  ^^^^"),
        StepCached(1, "build", "COPY . /src", 2),
        StepStarted(2, "build", "RUN make", 3),
        0.25,
        StepOutput(2, 1, b"cc hello.c\nno end"),
        1.0,
        StepFinished(2, 1.25),
        StepStarted(3, "1", "RUN true", 5),
        StepFinished(3, 0.0),
        HELLO,
        BuildFinished(1.5, 1, 3),
    )
    shown.close()
    shown.close()
    assert out.text == (
        "note: isolation: overlay\n"
        "warning: the casing of FROM and as differs (Dockerfile:1)\n"
        "\n"
        "#1 [build 1/3] COPY . /src\n"
        "#1 CACHED\n"
        "\n"
        "#2 [build 2/3] RUN make\n"
        "#2 0.250 cc hello.c\n"
        "#2 1.250 no end\n"
        "#2 DONE 1.2s\n"
        "\n"
        "#3 [stage-1 3/3] RUN true\n"
        "#3 DONE 0.0s\n"
        "\n"
        "built in 1.5s, 1 of 3 steps cached\n"
        "wrote ./hello.tar (4.1 MB) — load it with: docker load -i hello.tar\n"
    )


def test_a_plain_log_says_whose_lines_they_are_where_steps_run_together() -> None:
    _, out = told(
        Plain,
        PlanReady(2),
        StepStarted(1, "0", "RUN one", 2),
        StepStarted(2, "b", "RUN two", 3),
        StepOutput(1, 1, b"from one\n"),
        StepOutput(1, 2, b"again\n"),
        StepOutput(2, 1, b"from two\n"),
        StepFinished(1, 1.0),
    )
    assert out.text == (
        "#1 [1/2] RUN one\n"
        "\n#2 [b 2/2] RUN two\n"
        "\n#1 [1/2] RUN one\n#1 0.000 from one\n#1 0.000 again\n"
        "\n#2 [b 2/2] RUN two\n#2 0.000 from two\n"
        "\n#1 [1/2] RUN one: DONE 1.0s\n"
    )


def test_a_plain_log_does_not_repeat_the_output_that_stands_just_above_the_error() -> None:
    shown, out = told(
        Plain, PlanReady(1), StepStarted(1, "0", "RUN make", 2), StepOutput(1, 2, b"oh\xff no"), StepFailed(1, 2.0)
    )
    shown.fail(FAILED)
    assert out.text == (
        "#1 [1/1] RUN make\n"
        "#1 0.000 oh\\xff no\n"
        "#1 ERROR after 2.0s\n"
        "error[command-failed]: the command failed: exit code: 7\n"
    )


def test_a_plain_log_repeats_it_where_another_step_spoke_since_and_says_what_was_cancelled() -> None:
    shown, out = told(
        Plain,
        PlanReady(2),
        StepStarted(1, "a", "RUN one", 2),
        StepStarted(2, "b", "RUN two", 3),
        StepOutput(1, 1, b"oh no\n"),
        StepFailed(1, 2.0),
    )
    shown.fail(FAILED)
    assert out.text.partition("#1 ERROR after 2.0s\n")[2] == (
        "\n#2 [b 2/2] RUN two: CANCELED\n"
        "last output of [a 1/2] RUN one:\n"
        "  | oh no\n"
        "error[command-failed]: the command failed: exit code: 7\n"
    )


def test_a_plain_log_tells_of_a_transfer_now_and_then() -> None:
    def at(done: int, total: int = 10_000_000, *, task: str = "a", action: str = "pull") -> Progress:
        return Progress(task, action, "debian:12", done, total)

    _, out = told(
        Plain,
        at(0),
        3.0,
        at(3_000_000),
        3.0,
        at(6_000_000),
        1.0,
        at(10_000_000),
        at(1, 0, task="b", action="context"),
        Progress("b", "context", "", 2, 0, finished=True),
        at(0, 0, task="c", action="unpack"),
        6.0,
        at(7_000, 0, task="c", action="unpack"),
        Progress("c", "unpack", "debian:12", 0, 0, finished=True),
    )
    assert out.text == (
        "pull debian:12: 6.0 MB of 10.0 MB\n"
        "pull debian:12: 10.0 MB in 7.0s\n"
        "unpack debian:12: 7.0 kB\n"
        "unpack debian:12: done in 6.0s\n"
    )


def test_an_interrupted_build_says_so() -> None:
    shown, out = told(Plain, PlanReady(1), StepStarted(1, "0", "RUN x", 2))
    shown.interrupted()
    assert out.text == "#1 [1/1] RUN x\n#1 CANCELED\ninterrupted\n"


def test_json_is_one_object_for_each_event() -> None:
    shown, out = told(
        RawJson,
        PlanReady(1),
        StepStarted(1, "0", "RUN x", 2),
        0.5,
        StepOutput(1, 1, "ü".encode()[:1]),
        StepOutput(1, 1, "ü".encode()[1:] + b"\xff\n"),
        HELLO,
    )
    shown.close()
    shown.fail(FAILED)
    assert [json.loads(line) for line in out.text.splitlines()] == [
        {"event": "plan-ready", "time": 0.0, "total": 1},
        {"event": "step-started", "time": 0.0, "step": 1, "stage": "0", "title": "RUN x", "line": 2},
        {"event": "step-output", "time": 0.5, "step": 1, "stream": 1, "data": "ü\\xff\n"},
        {
            "event": "exported",
            "time": 0.5,
            "kind": "docker",
            "dest": "hello.tar",
            "size": 4100000,
            "names": ["hello:latest"],
            "digest": "sha256:1",
        },
        {
            "event": "error",
            "time": 0.5,
            "code": "command-failed",
            "message": "the command failed",
            "hint": None,
            "where": None,
            "exit_code": 7,
            "also": [],
        },
    ]


def test_a_quiet_build_that_fails_shows_the_last_output() -> None:
    shown, out = told(
        Display,
        PlanReady(1),
        Note("warning", "x"),
        StepStarted(1, "0", "RUN make", 2),
        StepOutput(1, 1, b"".join(b"%d\n" % i for i in range(60))),
        StepFailed(1, 1.0),
    )
    shown.fail(FAILED)
    assert out.text.splitlines()[:2] == ["last output of [1/1] RUN make:", "  | 10"]
    assert out.text.splitlines()[-2:] == ["  | 59", "error[command-failed]: the command failed: exit code: 7"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (HELLO, "wrote ./hello.tar (4.1 MB) — load it with: docker load -i hello.tar"),
        (Exported("docker", "/x y/a.tar", 0, (), ""), "wrote /x y/a.tar — load it with: docker load -i '/x y/a.tar'"),
        (Exported("docker", "-", 1000, (), ""), "wrote the image to stdout (1.0 kB)"),
        (Exported("oci", "out", 0, (), ""), "wrote ./out, an OCI image"),
        (Exported("local", "out", 5, (), ""), "wrote ./out (5 B), the root file system"),
        (Exported("tar", "-", 0, (), ""), "wrote the root file system to stdout"),
        (Exported("image", "", 0, ("a:1", "b:2"), "sha256:1"), "kept in the store: a:1, b:2"),
        (Exported("image", "", 0, (), "sha256:1"), "kept in the store: sha256:1"),
        (Exported("registry", "", 0, ("example.com/a:1",), "sha256:1"), "pushed example.com/a:1 (sha256:1)"),
    ],
)
def test_the_last_line_says_what_was_written_and_how_to_use_it(event: Exported, line: str) -> None:
    assert exported(event) == line


@pytest.mark.parametrize(
    ("progress", "quiet", "terminal", "environ", "mode"),
    [
        ("", False, False, {}, "plain"),
        ("", False, True, {"TERM": "xterm"}, "tty"),
        ("auto", False, True, {"TERM": "dumb"}, "plain"),
        ("", False, True, {"TERM": "xterm", "BUILDKIT_PROGRESS": "plain"}, "plain"),
        ("tty", False, True, {"TERM": "xterm", "BUILDKIT_PROGRESS": "plain"}, "tty"),
        ("", False, False, {"BUILDKIT_PROGRESS": "tty"}, "plain"),
        ("rawjson", False, False, {}, "json"),
        ("", True, True, {"TERM": "xterm"}, "quiet"),
        ("", True, False, {"BUILDKIT_PROGRESS": "plain"}, "quiet"),
        ("none", False, False, {}, "none"),
    ],
)
def test_the_display_is_chosen(progress: str, quiet: bool, terminal: bool, environ: dict[str, str], mode: str) -> None:
    assert mode_of(progress, quiet, Screen() if terminal else Recorded(), environ) == mode


@pytest.mark.parametrize(
    ("progress", "quiet", "environ", "message"),
    [
        ("plain", True, {}, "--progress=plain and --quiet cannot be used together"),
        ("tty", False, {}, "--progress=tty: stderr is not a terminal"),
        ("", False, {"BUILDKIT_PROGRESS": "fancy"}, "BUILDKIT_PROGRESS: there is no progress 'fancy'"),
    ],
)
def test_a_display_that_cannot_be_is_refused(progress: str, quiet: bool, environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        mode_of(progress, quiet, Recorded(), environ)
    assert caught.value.message == message


def test_each_mode_has_its_display() -> None:
    names = {mode: type(display(mode, Recorded(), {})).__name__ for mode in ("tty", "plain", "json", "quiet", "none")}
    assert names == {"tty": "Terminal", "plain": "Plain", "json": "RawJson", "quiet": "Display", "none": "Display"}


def test_colours_need_a_terminal_and_no_objection() -> None:
    assert wants_colours(Screen(), {"TERM": "xterm"})
    assert wants_colours(Screen(), {"TERM": "xterm", "NO_COLOR": ""})
    assert not wants_colours(Screen(), {"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_colours(Screen(), {"TERM": "dumb"})
    assert not wants_colours(Recorded(), {"TERM": "xterm"})
    assert Style(False).red("x") == "x"
