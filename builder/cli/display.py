"""Events → text: what every display has in common.

A display hears all events of one build. It keeps what is needed to explain a failure, and calls one method for each
kind of thing that happened; a display draws what it overrides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from builder.cli.diagnostics import Style, draw, shown
from builder.cli.lines import Log
from builder.cli.streams import Stream
from builder.cli.text import harmless, size
from builder.errors import BuilderError
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

Clock = Callable[[], float]


@dataclass(slots=True)
class Running:
    """A step that is being performed."""

    number: int
    label: str
    started: float
    output: Log = field(default_factory=Log)


@dataclass(slots=True)
class Transfer:
    """A transfer that is under way, as last heard of; ``shown`` is when it was last drawn."""

    latest: Progress
    started: float
    shown: float


class Display:
    """Draws nothing; remembers what a failure is explained with.

    details   whether warnings show all that is known of them
    """

    details = False

    def __init__(self, out: Stream, style: Style, clock: Clock = time.monotonic) -> None:
        self.out = out
        self.style = style
        self.clock = clock
        self.born = clock()
        self.total = 0
        self.done = 0
        self.running: dict[int, Running] = {}
        self.transfers: dict[str, Transfer] = {}
        self.exports: list[Exported] = []
        self.findings: list[LintWarning] = []
        self.end: BuildFinished | None = None
        self.failure: Running | None = None

    def emit(self, event: Event) -> None:
        """Hear of *event*."""
        match event:
            case StepOutput(step=number, stream=stream, data=data):
                if step := self.running.get(number):
                    self.wrote(step, step.output.feed(stream, data))
            case StepStarted(step=number):
                step = self.running[number] = Running(number, self.label(event), self.clock())
                self.started(step)
            case StepCached():
                self.done += 1
                self.cached(event.step, self.label(event))
            case StepFinished(step=number, seconds=seconds):
                if step := self.running.pop(number, None):
                    self.done += 1
                    self.wrote(step, step.output.flush())
                    self.finished(step, seconds)
            case StepFailed(step=number, seconds=seconds):
                if step := self.running.pop(number, None):
                    self.wrote(step, step.output.flush())
                    self.failure = step
                    self.failed(step, seconds)
            case Progress():
                self._progress(event)
            case Note():
                self.noted(event)
            case LintWarning():
                if event not in self.findings:  # each platform's plan has them
                    self.findings.append(event)
            case PlanReady(total=total):
                self.total = total
            case Exported():
                self.exports.append(event)
            case BuildFinished():
                self.end = event

    def _progress(self, event: Progress) -> None:
        now = self.clock()
        transfer = self.transfers.get(event.task)
        if transfer is None:
            transfer = self.transfers[event.task] = Transfer(event, now, now)
        transfer.latest = event
        ended = event.finished or 0 < event.total <= event.done
        if ended:
            del self.transfers[event.task]
        self.moved(transfer, ended)

    def label(self, event: StepStarted | StepCached) -> str:
        """``[build 7/12] RUN make``; an unnamed stage is ``stage-1``, and the first of them goes without saying."""
        stage = f"stage-{event.stage}" if event.stage.isdecimal() else event.stage
        place = f"{event.step}/{max(self.total, event.step)}"
        return harmless(f"[{place}] {event.title}" if stage in ("", "stage-0") else f"[{stage} {place}] {event.title}")

    def started(self, step: Running) -> None:
        """A step begins."""

    def cached(self, number: int, label: str) -> None:
        """A step was found."""

    def wrote(self, step: Running, lines: list[str]) -> None:
        """A step wrote something, which completed *lines*."""

    def finished(self, step: Running, seconds: float) -> None:
        """A step was performed."""

    def failed(self, step: Running, seconds: float) -> None:
        """A step failed."""

    def moved(self, transfer: Transfer, ended: bool) -> None:
        """A transfer came forward."""

    def noted(self, note: Note) -> None:
        """There is a remark."""

    def close(self) -> None:
        """End drawing; nothing half drawn stays behind. What was written is told."""

    def fail(self, error: BuilderError) -> None:
        """End with *error*: draw it, with the failing step's last output."""
        self.close()
        title = self.failure.label if self.failure else ""
        self.out.write(draw(error, self.style, title=title, tail=self.tail_to_show()))

    def tail_to_show(self) -> list[str]:
        """The failing step's last lines, as far as they are not on the screen already."""
        return list(self.failure.output.tail) if self.failure else []

    def interrupted(self) -> None:
        """End because the caller wants it."""
        self.close()
        self.out.write("interrupted\n")


def note_text(note: Note, style: Style) -> str:
    """``warning: text (where)``; of a place its first line alone, which is short."""
    head = style.yellow("warning") if note.level == "warning" else style.blue("note")
    place = note.where.partition("\n")[0]
    return f"{head}: {harmless(note.text)}" + (f" ({harmless(place)})" if place else "")


def summary(display: Display, style: Style) -> list[str]:
    """The last lines of a build that succeeded: its time, and what was written where."""
    lines = _findings(display, style)
    if end := display.end:
        cached = f", {end.cached} of {end.total} steps cached" if end.total else ""
        lines.append(style.bold(f"built in {end.seconds:.1f}s{cached}"))
    return lines + [exported(event) for event in display.exports]


def _findings(display: Display, style: Style) -> list[str]:
    """What the lint rules found, as buildx has it below all else; where each stands, and why, with ``--debug``."""
    if not display.findings:
        return []
    count = "1 warning" if len(display.findings) == 1 else f"{len(display.findings)} warnings"
    lines = [style.yellow(f"{count} found" + (":" if display.details else " (--debug or --check tell more):"))]
    for found in display.findings:
        lines.append(harmless(f" - {found.rule}: {found.text} (line {found.line})"))
        if display.details:
            lines += [f"More info: {found.link}"] if found.link else []
            lines += [*(shown(line) for line in found.where.splitlines()), ""]
    return lines


def exported(event: Exported) -> str:
    """What was written, and how it is used::

    wrote ./hello.tar (4.1 MB) — load it with: docker load -i hello.tar
    """
    names = ", ".join(event.names)
    if event.kind == "registry":
        return harmless(f"pushed {names or event.dest} ({event.digest})")
    if event.kind in ("image", "cacheonly"):
        return harmless(f"kept in the store: {names or event.digest}")
    if event.kind == "daemon":
        return harmless(f"loaded into the Docker daemon: {names or event.digest}")
    many = f" ({size(event.size)})" if event.size else ""
    what = {"oci": "an OCI image", "tar": "the root file system", "local": "the root file system"}.get(event.kind, "")
    if event.dest == "-":
        return f"wrote {what or 'the image'} to stdout{many}"
    place = event.dest if "/" in event.dest else f"./{event.dest}"
    if event.kind == "docker":
        # Only to name a path as a shell takes it.
        from shlex import quote

        return f"wrote {harmless(place)}{many} — load it with: docker load -i {quote(harmless(event.dest))}"
    return harmless(f"wrote {place}{many}, {what}")
