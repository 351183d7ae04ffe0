"""What is under way, as rows that fit a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.cli.diagnostics import Style
from builder.cli.lines import Log
from builder.cli.text import cut, harmless, seconds, size, width
from builder.events import Progress

OUTPUT_ROWS = 6
"""Rows of a running step's output."""

BAR_AFTER = 0.2
"""Seconds after which a transfer is worth a bar; most are over before."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its text with colours, and the columns it takes."""

    text: str
    width: int

    @classmethod
    def of(cls, label: str, columns: int, style: Style, *, mark: str = "", took: float | None = None) -> Row:
        """``=> CACHED label             1.2s``, cut to *columns* less one, so that no terminal breaks the line."""
        time = "" if took is None else seconds(took)
        lead = f"=> {mark} " if mark else "=> "
        room = columns - 1 - len(lead) - (len(time) + 1 if time else 0)
        if room < 8:
            # Too narrow for anything but the beginning.
            text = cut(lead + label, columns - 1)
            return cls(text, width(text))
        label = cut(label, room)
        gap = " " * (room - width(label) + 1) if time else ""
        colours = {"ERROR": style.red, "CANCELED": style.yellow, "CACHED": style.blue}
        paint = colours.get(mark, style.blue if time else style.bold)
        return cls(paint(lead + label) + gap + style.faint(time), len(lead) + width(label) + len(gap) + len(time))


class Frame:
    """The rows for a terminal of so many *columns* and *lines*; never higher than it."""

    def __init__(self, columns: int, lines: int, style: Style) -> None:
        self._columns = columns
        self._lines = lines
        self._style = style
        self._steps: list[tuple[Row, Log]] = []
        self._transfers: list[Row] = []
        self._foot: list[Row] = []

    def step(self, label: str, took: float, output: Log) -> None:
        """Add a running step."""
        self._steps.append((Row.of(label, self._columns, self._style, took=took), output))

    def transfer(self, event: Progress, took: float) -> None:
        """Add a transfer."""
        if took >= BAR_AFTER:
            text = cut(bar(event, took, self._columns - 1), self._columns - 1)
            self._transfers.append(Row(text, width(text)))

    def foot(self, text: str) -> None:
        """Add the last row."""
        text = cut(text, self._columns - 1)
        self._foot = [Row(self._style.bold(text), width(text))]

    @property
    def rows(self) -> list[Row]:
        """All rows. Where they do not fit, the output gives way first, then the oldest steps, then transfers."""
        room = max(1, self._lines - 2)
        transfers = self._fitting(self._transfers, max(1, room // 2), "transfers")
        steps = self._fitting([row for row, _ in self._steps], max(1, room - len(transfers)), "steps")
        left = room - len(transfers) - len(steps)
        each = min(OUTPUT_ROWS, left // len(self._steps)) if len(steps) == len(self._steps) and steps else 0
        rows: list[Row] = []
        for index, row in enumerate(steps):
            rows.append(row)
            if each > 0:
                rows += [self._output(line) for line in self._steps[index][1].last(each)]
        return [*rows, *transfers, *self._foot]

    def _fitting(self, rows: Sequence[Row], room: int, what: str) -> list[Row]:
        if len(rows) <= room:
            return list(rows)
        text = cut(f"   … and {len(rows) - room + 1} more {what}", self._columns - 1)
        return [*rows[: room - 1], Row(text, width(text))]

    def _output(self, line: str) -> Row:
        text = cut(f"   | {line}", self._columns - 1)
        return Row(self._style.faint(text), width(text))


def bar(event: Progress, took: float, columns: int) -> str:
    """A transfer as tqdm draws it, without a bar where the total is not known."""
    # 30 ms to import, and only for transfers that take longer than that.
    from tqdm.std import tqdm

    label = cut(harmless(f"{event.action} {event.label}"), max(12, columns // 2))
    if not event.total:
        return f"   {label}: {size(event.done)}"
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} {rate_fmt}"
    done = min(event.done, event.total)
    return str(
        tqdm.format_meter(
            done, event.total, took, ncols=columns, prefix=f"   {label}", unit="B", unit_scale=True, bar_format=form
        )
    )


def rows_taken(widths: Sequence[int], columns: int) -> int:
    """How many rows lines of these *widths* take now: after a terminal became narrower, they are broken."""
    return sum(max(1, -(-one // max(1, columns))) for one in widths)
