"""Events as lines, for logs: nothing is ever taken back, and every line is whole."""

from __future__ import annotations

from builder.cli.display import Display, Running, Transfer, note_text, summary
from builder.cli.text import cut, harmless, seconds, size
from builder.events import Note

QUIET_FOR = 5.0
"""Seconds between two lines about one transfer."""


REMINDER = 80
"""Columns of a step's label where it is said again."""


class Plain(Display):
    """As BuildKit's plain progress::

    #7 [build 7/12] RUN make
    #7 0.312 cc -o hello hello.c
    #7 DONE 1.2s

    #8 [build 8/12] COPY . .
    #8 CACHED
    """

    last_spoke = 0
    """The step that the last line was about; the first line about another one follows an empty line."""

    def started(self, step: Running) -> None:
        """A step begins."""
        self._say(step.number, step.label)

    def cached(self, number: int, label: str) -> None:
        """A step was found."""
        self._say(number, label, "CACHED")

    def wrote(self, step: Running, lines: list[str]) -> None:
        """A step wrote *lines*."""
        if lines:
            time = f"{self.clock() - step.started:.3f}"
            if self.last_spoke != step.number:
                # Whoever reads a log of steps that run together wants to know whose line it is.
                lines = [cut(step.label, REMINDER), *(f"{time} {line}" for line in lines)]
            else:
                lines = [f"{time} {line}" for line in lines]
            self._say(step.number, *lines)

    def finished(self, step: Running, seconds: float) -> None:
        """A step was performed."""
        self._end(step, f"DONE {seconds:.1f}s")

    def failed(self, step: Running, seconds: float) -> None:
        """A step failed."""
        self._end(step, f"ERROR after {seconds:.1f}s")

    def moved(self, transfer: Transfer, ended: bool) -> None:
        """A transfer came forward: told now and then, and at its end if it is one that people wait for."""
        event, now = transfer.latest, self.clock()
        told = transfer.shown > transfer.started
        if ended and (told or event.action in ("pull", "push")):
            what = event.how or f"{_amount(event.done)}{seconds(now - transfer.started)}"
            self._remark(f"{_task(event.action, event.label)}: {what}")
        elif not ended and now - transfer.shown >= QUIET_FOR:
            transfer.shown = now
            of = f" of {size(event.total)}" if event.total else ""
            self._remark(f"{_task(event.action, event.label)}: {size(event.done)}{of}")

    def noted(self, note: Note) -> None:
        """There is a remark."""
        self._remark(note_text(note, self.style))

    def close(self) -> None:
        """Tell of steps that were not ended, and of what was written."""
        for step in list(self.running.values()):
            self.wrote(step, step.output.flush())
            self._end(step, "CANCELED")
        self.running.clear()
        lines = summary(self, self.style)
        self.exports, self.findings, self.end = [], [], None
        if lines:
            self._remark(*lines)

    def tail_to_show(self) -> list[str]:
        """The failing step's last lines, unless they are the last ones that were written."""
        here = self.failure is not None and self.last_spoke == self.failure.number
        return [] if here else super().tail_to_show()

    def _end(self, step: Running, what: str) -> None:
        self._say(step.number, what if self.last_spoke == step.number else f"{cut(step.label, REMINDER)}: {what}")

    def _say(self, number: int, *lines: str) -> None:
        gap = "\n" if self.last_spoke not in (0, number) else ""
        self.last_spoke = number
        self.out.write(gap + "".join(f"#{number} {line}\n" for line in lines))

    def _remark(self, *lines: str) -> None:
        gap = "\n" if self.last_spoke > 0 else ""
        self.last_spoke = -1
        self.out.write(gap + "".join(f"{line}\n" for line in lines))


def _task(action: str, label: str) -> str:
    return harmless(f"{action} {label}" if label else action)


def _amount(count: int) -> str:
    return f"{size(count)} in " if count else "done in "
