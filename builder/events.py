"""What happened during a build, as frozen values made of strings and numbers. Only ``cli`` draws them.

The life of a step: ``StepStarted``, any number of ``StepOutput``, then one of ``StepFinished``, ``StepCached`` (without
a start) or ``StepFailed``. ``step`` is the same number in all of them, counted over the whole build from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """What all events have in common: nothing but that they are events."""


@dataclass(frozen=True, slots=True)
class PlanReady(Event):
    """The plan is known: *total* steps will be looked up or performed."""

    total: int


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """A step is being performed. ``title`` is the instruction as resolved; ``stage`` the stage's name or index."""

    step: int
    stage: str
    title: str
    line: int


@dataclass(frozen=True, slots=True)
class StepCached(Event):
    """A step's result was found, and nothing was executed."""

    step: int
    stage: str
    title: str
    line: int


@dataclass(frozen=True, slots=True)
class StepOutput(Event):
    """Bytes that a command wrote, as they came. ``stream`` is 1 for stdout and 2 for stderr."""

    step: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    """A step was performed, in *seconds*."""

    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed(Event):
    """A step failed; the error follows as the build's own."""

    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A transfer: *done* of *total* units (bytes unless said otherwise; total 0 when unknown).

    ``task`` identifies the transfer for its whole life; ``done == total`` or ``finished`` ends it.
    ``action`` is ``pull``, ``unpack``, ``context``, ``export`` or ``push``.
    ``how`` says at the end why nothing had to be moved: ``already there``.
    """

    task: str
    action: str
    label: str
    done: int
    total: int
    finished: bool = False
    how: str = ""


@dataclass(frozen=True, slots=True)
class Note(Event):
    """Something worth knowing that stops nothing. ``level`` is ``info`` or ``warning``."""

    level: str
    text: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class LintWarning(Event):
    """A lint rule found something in the Dockerfile, which stops nothing.

    link    where the rule is explained; "" nowhere
    where   the place in words, its first line and a caret; line: its number
    """

    rule: str
    text: str
    link: str
    where: str
    line: int


@dataclass(frozen=True, slots=True)
class Exported(Event):
    """An output was written. ``kind`` is the output's type, ``dest`` where it lies, ``size`` in bytes (0: unknown)."""

    kind: str
    dest: str
    size: int
    names: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class BuildFinished(Event):
    """The build is done, in *seconds*; *cached* of *total* steps were found."""

    seconds: float
    cached: int
    total: int


Emit = Callable[[Event], None]
"""Receives every event, in order, from one thread at a time."""


def silent(event: Event) -> None:
    """Take an event and do nothing."""
