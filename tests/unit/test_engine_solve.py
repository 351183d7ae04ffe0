"""The walk over a plan, with steps that only pretend."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from plans import plan
from worlds.engines import FakePerformer, world

from builder.engine.inputs import Inputs
from builder.engine.solve import Missed, Solution, Solver, look_up
from builder.errors import CommandFailed, HostError
from builder.events import Event, StepCached, StepFailed, StepFinished, StepStarted
from builder.store import Store

TWO = """\
FROM debian AS one
RUN one
FROM debian AS two
RUN two
FROM scratch
COPY --from=one /1 /
COPY --from=two /2 /
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


def solve(store: Store, text: str, performer: FakePerformer, events: list[Event] | None = None, **how: int) -> Solution:
    here = world(store, events, **how)
    return Solver(plan(text), here, Inputs(here), performer.as_performer).solve()


def test_steps_follow_each_other_and_are_found_the_next_time(store: Store) -> None:
    contents = itertools.count()
    performer, events = FakePerformer(store, lambda _: next(contents)), []
    text = "FROM debian\nRUN a\nENV X=1\nRUN b\n"
    first = solve(store, text, performer, events)
    assert performer.titles == ["RUN a", "RUN b"]
    assert first.cached == 0
    assert first.target.root == ("base-debian",)
    assert first.target.made == ("made-0", "made-1")
    assert [type(event) for event in events] == [StepStarted, StepFinished] * 2
    events.clear()
    again = solve(store, text, performer, events)
    assert (again.target, again.cached) == (first.target, 2)
    assert [type(event) for event in events] == [StepCached] * 2
    # What follows another base, another environment or another step is another step.
    solve(store, text.replace("debian", "fedora"), performer)
    solve(store, text.replace("X=1", "X=2"), performer)
    assert performer.titles[2:] == ["RUN a", "RUN b", "RUN b"]


def test_the_cache_alone_answers_or_nothing_is_said(store: Store) -> None:
    performer, events = FakePerformer(store), []
    here = world(store, events)
    text = "FROM debian\nRUN a\nRUN b\n"
    made = solve(store, text, performer)
    assert look_up([plan(text)], here, Inputs(here), packed=False) == [Solution(made.target, 2)]
    assert len(events) == 2
    events.clear()
    for missing in (text + "RUN c\n", TWO):
        with pytest.raises(Missed):
            look_up([plan(missing)], here, Inputs(here), packed=False)
    with pytest.raises(Missed):  # no layer was packed
        look_up([plan(text)], here, Inputs(here), packed=True)
    assert events == []


def test_equal_contents_stand_for_each_other(store: Store) -> None:
    contents = {"RUN compile 1": "program", "RUN compile 2": "program", "RUN compile 3": "other program"}
    performer = FakePerformer(store, lambda title: contents.get(title, title))
    text = "FROM debian\nRUN compile {}\nRUN install\n"
    for version in (1, 2):
        solve(store, text.format(version), performer)
    assert performer.titles == ["RUN compile 1", "RUN install", "RUN compile 2"]
    solve(store, text.format(3), performer)
    assert performer.titles[3:] == ["RUN compile 3", "RUN install"]


def test_no_cache_is_for_the_stages_that_it_names(store: Store) -> None:
    performer = FakePerformer(store)
    solve(store, TWO, performer, jobs=1)
    performer.titles.clear()
    solve(store, TWO, performer, jobs=1, no_cache=lambda stage: stage == "two")  # type: ignore[arg-type]  # not an int
    assert performer.titles == ["RUN two", "COPY --from=two /2 /"]


def test_only_the_targets_own_layers_are_wanted(store: Store) -> None:
    performer = FakePerformer(store)
    text = "FROM debian AS a\nRUN a\nFROM debian AS b\nRUN b\nFROM a\nCOPY --from=b / /b/\nRUN c\n"
    solve(store, text, performer, jobs=1)
    assert performer.wanted == ["RUN a", "COPY --from=b / /b/", "RUN c"]


def test_stages_are_walked_at_once(store: Store) -> None:
    meeting = threading.Barrier(2, timeout=5)

    def act(title: str) -> str:
        if title.startswith("RUN"):
            meeting.wait()
        return title

    solve(store, TWO, FakePerformer(store, act), jobs=2)


def test_any_number_of_jobs_is_enough(store: Store) -> None:
    stages = "FROM debian AS s0\nRUN 0\n" + "".join(f"FROM s{n} AS s{n + 1}\nRUN {n + 1}\n" for n in range(6))
    for jobs in (1, 2, 20):
        solve(store, stages, FakePerformer(store), jobs=jobs, no_cache=lambda _: True)  # type: ignore[arg-type]  # not an int


def test_the_first_failure_is_told_and_ends_the_others(store: Store) -> None:
    performer = FakePerformer(store)
    events: list[Event] = []

    def act(title: str) -> str:
        if title == "RUN two":
            time.sleep(0.05)
            raise CommandFailed("exit code: 7", code="command-failed", exit_code=7)
        assert performer.cancelled.wait(5)
        raise HostError("the command was cancelled", code="cancelled")

    performer._act = act
    with pytest.raises(CommandFailed) as caught:
        solve(store, TWO, performer, events, jobs=2)
    assert caught.value.where is not None
    assert caught.value.where.describe().startswith("Dockerfile:4")
    failed = [event.step for event in events if isinstance(event, StepFailed)]
    started = {event.title: event.step for event in events if isinstance(event, StepStarted)}
    assert failed == [started["RUN two"]]


def test_an_exception_that_nobody_expected_comes_out_as_it_is(store: Store) -> None:
    def act(title: str) -> str:
        raise ZeroDivisionError(title)

    for text in (TWO, "FROM debian\nRUN a\n"):
        with pytest.raises(ZeroDivisionError):
            solve(store, text, FakePerformer(store, act), jobs=2)
