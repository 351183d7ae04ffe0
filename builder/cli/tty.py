"""Events on a terminal: what is done scrolls away above, what is under way is redrawn below.

The terminal is left in the mode it is in: no alternative screen, no hidden cursor. So there is nothing to restore, even
if the process is killed. A frame is one write: back to the top of the last frame, clear to the end, new lines.
"""

from __future__ import annotations

import os
import threading
import time

from builder.cli.diagnostics import Style
from builder.cli.display import Clock, Display, Running, Transfer, note_text, summary
from builder.cli.frame import Frame, Row, rows_taken
from builder.cli.streams import Stream
from builder.cli.text import harmless, seconds, size
from builder.events import Event, Note

REDRAW = 0.1
"""Seconds between two frames."""


class Terminal(Display):
    """Draws from two threads: the one that emits, and one that keeps the clocks going."""

    def __init__(self, out: Stream, style: Style, clock: Clock = time.monotonic, *, ticking: bool = True) -> None:
        super().__init__(out, style, clock)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._ticker: threading.Thread | None = None
        self._ticking = ticking
        # What is forked from this process has the same terminal, and no business with it.
        self._owner = os.getpid()
        self._above: list[str] = []
        self._widths: list[int] = []
        self._drawn = -REDRAW

    def emit(self, event: Event) -> None:
        """Hear of *event*, and draw if the last frame is old enough."""
        with self._lock:
            super().emit(event)
            if self.clock() - self._drawn >= REDRAW:
                self.redraw()
        if self._ticker is None and self._ticking and (self.running or self.transfers):
            self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress")
            self._ticker.start()

    def _tick(self) -> None:
        while not self._done.wait(REDRAW):
            with self._lock:
                self.redraw()

    def close(self) -> None:
        """Take the last frame away; tell of steps that were not ended, and of what was written."""
        if os.getpid() != self._owner:
            return
        self._done.set()
        if self._ticker:
            self._ticker.join()
            self._ticker = None
        with self._lock:
            for step in self.running.values():
                self._tell(step.label, "CANCELED", self.clock() - step.started)
            self.running.clear()
            self.transfers.clear()
            self._above += summary(self, self.style)
            self.exports, self.findings, self.end = [], [], None
            self.redraw()

    def redraw(self) -> None:
        """Draw what has happened, and what is under way, now."""
        columns, lines = self.out.size()
        frame = self._frame(columns, lines).rows
        up = rows_taken(self._widths, columns) - 1
        start = ("\r" if self._widths else "") + (f"\x1b[{up}A" if up > 0 else "") + ("\x1b[J" if self._widths else "")
        above = "".join(f"{line}\n" for line in self._above)
        text = start + above + "\n".join(row.text for row in frame)
        self._above.clear()
        self._widths = [row.width for row in frame]
        self._drawn = self.clock()
        if text:
            self.out.write(text)

    def _frame(self, columns: int, lines: int) -> Frame:
        frame = Frame(columns, lines, self.style)
        now = self.clock()
        for step in self.running.values():
            frame.step(step.label, now - step.started, step.output)
        for transfer in self.transfers.values():
            frame.transfer(transfer.latest, now - transfer.started)
        if self.running or self.transfers:
            steps = f", {self.done} of {self.total} steps done" if self.total else ""
            frame.foot(f"building {seconds(now - self.born)}{steps}")
        return frame

    def cached(self, number: int, label: str) -> None:
        """A step was found."""
        self._tell(label, "CACHED", None)

    def finished(self, step: Running, took: float) -> None:
        """A step was performed."""
        self._tell(step.label, "", took)

    def failed(self, step: Running, took: float) -> None:
        """A step failed."""
        self._tell(step.label, "ERROR", took)

    def moved(self, transfer: Transfer, ended: bool) -> None:
        """A transfer came forward; one that people wait for is told of when it is through."""
        event = transfer.latest
        if ended and event.action in ("pull", "push"):
            many = f" {size(event.done)}" if event.done else ""
            self._tell(harmless(f"{event.action} {event.label}{many}"), "", self.clock() - transfer.started)

    def noted(self, note: Note) -> None:
        """There is a remark; what is merely interesting is for other displays."""
        if note.level == "warning":
            self._above.append(note_text(note, self.style))

    def _tell(self, label: str, mark: str, took: float | None) -> None:
        columns, _ = self.out.size()
        row = Row.of(label, columns, self.style, mark=mark, took=took)
        self._above.append(row.text)
