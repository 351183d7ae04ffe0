from __future__ import annotations

from worlds.terminal import Clock, Screen

from builder.cli.diagnostics import PLAIN, Style
from builder.cli.frame import bar, rows_taken
from builder.cli.tty import Terminal
from builder.errors import CommandFailed
from builder.events import (
    BuildFinished,
    Event,
    Exported,
    Note,
    PlanReady,
    Progress,
    StepCached,
    StepFailed,
    StepFinished,
    StepOutput,
    StepStarted,
)


def told(screen: Screen, *events: Event | float, style: Style = PLAIN) -> Terminal:
    """A terminal display that heard *events*; a number sets the clock forward."""
    clock = Clock()
    shown = Terminal(screen, style, clock, ticking=False)
    for event in events:
        if isinstance(event, float):
            clock.now += event
        else:
            shown.emit(event)
    return shown


def test_what_is_done_stands_above_what_is_under_way() -> None:
    screen = Screen(50)
    shown = told(
        screen,
        PlanReady(4),
        Note("info", "isolation: overlay"),
        Note("warning", "casing", "Dockerfile:1"),
        StepCached(1, "build", "COPY . /src", 2),
        StepStarted(2, "build", "RUN make all install -j8 PREFIX=/usr/local", 3),
        StepStarted(3, "1", "RUN apt-get update", 5),
        1.0,
        StepOutput(2, 1, b"".join(b"\x1b[1mline %d\x1b[0m\n" % i for i in range(9))),
        StepOutput(3, 1, b"\r10%\r20%"),
        0.5,
        StepOutput(2, 1, b"unfinished"),
    )
    assert screen.shown == (
        "warning: casing (Dockerfile:1)\n"
        "=> CACHED [build 1/4] COPY . /src\n"
        "=> [build 2/4] RUN make all install -j8 PRE… 1.5s\n"
        "   | line 4\n   | line 5\n   | line 6\n   | line 7\n   | line 8\n   | unfinished\n"
        "=> [stage-1 3/4] RUN apt-get update          1.5s\n"
        "   | 20%\n"
        "building 1.5s, 1 of 4 steps done"
    )
    shown.emit(StepFinished(2, 2.0))
    shown.emit(StepFinished(3, 2.5))
    shown.emit(Exported("docker", "hello.tar", 4_100_000, (), ""))
    shown.emit(BuildFinished(3.0, 1, 4))
    shown.close()
    shown.close()
    assert screen.shown == (
        "warning: casing (Dockerfile:1)\n"
        "=> CACHED [build 1/4] COPY . /src\n"
        "=> [build 2/4] RUN make all install -j8 PRE… 2.0s\n"
        "=> [stage-1 3/4] RUN apt-get update          2.5s\n"
        "built in 3.0s, 1 of 4 steps cached\n"
        "wrote ./hello.tar (4.1 MB) — load it with: docker load -i hello.tar\n"
    )


def test_a_failure_leaves_the_last_output_and_the_error_and_nothing_half_drawn() -> None:
    screen = Screen(40)
    shown = told(
        screen,
        PlanReady(2),
        StepStarted(1, "0", "RUN make", 2),
        StepStarted(2, "b", "RUN sleep", 3),
        0.2,
        StepOutput(1, 2, b"oh no\n"),
        StepFailed(1, 0.2),
    )
    shown.fail(CommandFailed("the command failed", code="command-failed", exit_code=7))
    assert screen.shown == (
        "=> ERROR [1/2] RUN make            0.2s\n"
        "=> CANCELED [b 2/2] RUN sleep      0.2s\n"
        "last output of [1/2] RUN make:\n"
        "  | oh no\n"
        "error[command-failed]: the command failed: exit code: 7\n"
    )


def test_the_frame_is_taken_away_whole_after_the_terminal_became_narrower_or_wider() -> None:
    for first, then in ((60, 23), (23, 60), (60, 7)):
        screen = Screen(first)
        shown = told(
            screen,
            PlanReady(1),
            StepStarted(1, "0", "RUN something that is rather long to say, too long", 2),
            0.2,
            StepOutput(1, 1, b"a line that is longer than the terminal is wide, surely\n" * 3),
        )
        screen.columns = then
        shown.redraw()
        shown.emit(StepFinished(1, 0.2))
        shown.close()
        assert screen.shown.count("\n") == 1, (first, then)
        assert screen.shown.startswith("=> [1"), (first, then)


def test_a_frame_is_never_higher_than_the_terminal() -> None:
    screen = Screen(40, 8)
    steps = [StepStarted(i, "0", f"RUN {i}", i) for i in range(1, 12)]
    outputs = [StepOutput(i, 1, b"output\n") for i in range(1, 12)]
    transfers = [Progress(f"t{i}", "pull", f"layer {i}", 1, 10) for i in range(9)]
    shown = told(screen, PlanReady(20), *steps, *outputs, *transfers, 0.5)
    shown.redraw()
    assert screen.shown == (
        "=> [1/20] RUN 1                    0.5s\n"
        "=> [2/20] RUN 2                    0.5s\n"
        "   … and 9 more steps\n"
        f"{bar(transfers[0], 0.5, 39)}\n"
        f"{bar(transfers[1], 0.5, 39)}\n"
        "   … and 7 more transfers\n"
        "building 0.5s, 0 of 20 steps done"
    )


def test_a_transfer_has_a_bar_while_it_lasts_and_a_line_when_it_is_through() -> None:
    screen = Screen(60)
    shown = told(screen, Progress("a", "pull", "debian:12", 0, 10_000_000), 0.5)
    shown.emit(Progress("a", "pull", "debian:12", 5_000_000, 10_000_000))
    assert screen.shown == f"{bar(Progress('a', 'pull', 'debian:12', 5_000_000, 10_000_000), 0.5, 59)}\nbuilding 0.5s"
    assert "50%" in screen.shown
    assert "5.00M/10.0M" in screen.shown
    shown.emit(Progress("b", "context", "", 9, 0, finished=True))
    shown.emit(Progress("a", "pull", "debian:12", 10_000_000, 10_000_000))
    shown.close()
    assert screen.shown == "=> pull debian:12 10.0 MB                              0.5s\n"


def test_a_transfer_of_unknown_size_shows_what_came() -> None:
    assert bar(Progress("a", "context", "x\x1b[2J", 5000, 0), 1.0, 60) == "   context x: 5.0 kB"


def test_a_build_that_finds_everything_is_drawn_at_once_and_starts_no_thread() -> None:
    screen = Screen(60)
    shown = Terminal(screen, PLAIN)
    for event in (PlanReady(1), StepCached(1, "0", "RUN x", 2), BuildFinished(0.1, 1, 1)):
        shown.emit(event)
    assert shown._ticker is None
    shown.close()
    assert screen.shown == "=> CACHED [1/1] RUN x\nbuilt in 0.1s, 1 of 1 steps cached\n"


def test_the_clock_goes_on_while_a_step_is_silent() -> None:
    import time

    screen = Screen(60)
    shown = Terminal(screen, PLAIN)
    shown.emit(PlanReady(1))
    shown.emit(StepStarted(1, "0", "RUN sleep", 2))
    until = time.monotonic() + 10
    while "0.3s" not in screen.shown and time.monotonic() < until:
        time.sleep(0.02)
    assert "0.3s" in screen.shown
    shown.interrupted()
    assert screen.shown.startswith("=> CANCELED [1/1] RUN sleep")
    assert screen.shown.endswith("s\ninterrupted\n")


def test_colours_are_drawn_only_where_they_are_wanted() -> None:
    events = (PlanReady(2), StepCached(1, "0", "RUN x", 2), StepStarted(2, "0", "RUN y", 3), 0.2, StepFailed(2, 0.2))
    plain, coloured = Screen(60), Screen(60)
    told(plain, *events).close()
    told(coloured, *events, style=Style(True)).close()
    assert plain.renditions == 0
    assert coloured.renditions > 0
    assert plain.shown == coloured.shown


def test_lines_wider_than_the_terminal_take_several_rows() -> None:
    assert rows_taken([0, 10, 11, 25], 10) == 1 + 1 + 2 + 3
