"""Terminals and streams as values, for what the command line draws."""

from __future__ import annotations

import re
from collections.abc import Mapping

from builder.cli.environment import Surroundings


class Recorded:
    """A stream that keeps all that is written; no terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def is_terminal(self) -> bool:
        return False

    def size(self) -> tuple[int, int]:
        return 80, 24


class Screen:
    """A terminal that knows line feeds, carriage returns, cursor up, erase below and renditions, and nothing else.

    Lines wider than the screen are broken, and broken anew when its width changes, as most terminals do now.
    """

    def __init__(self, columns: int = 60, lines: int = 20) -> None:
        self.columns = columns
        self.lines = lines
        self.renditions = 0
        self.highest = 0
        self._rows: list[str] = [""]
        self._row = 0
        self._column = 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+|\x1b", text):
            if part == "\n":
                self._row, self._column = self._row + 1, 0
                if self._row == len(self._rows):
                    self._rows.append("")
            elif part == "\r":
                self._column -= self._column % self.columns
            elif part.endswith("A") and part.startswith("\x1b["):
                self._up(int(part[2:-1]))
            elif part == "\x1b[J":
                self._rows[self._row :] = [self._rows[self._row][: self._column]]
            elif part.startswith("\x1b[") and part.endswith("m"):
                self.renditions += 1
            else:
                assert part.isprintable(), f"the terminal does not know {part!r}"
                row = self._rows[self._row].ljust(self._column)
                self._rows[self._row] = row[: self._column] + part + row[self._column + len(part) :]
                self._column += len(part)

    def is_terminal(self) -> bool:
        return True

    def size(self) -> tuple[int, int]:
        return self.columns, self.lines

    @property
    def shown(self) -> str:
        """All lines, those that have scrolled away as well, without blanks at their ends."""
        return "\n".join(row.rstrip() for row in self._rows)

    def _up(self, count: int) -> None:
        for _ in range(count):
            if self._column >= self.columns:
                self._column -= self.columns
                continue
            assert self._row > 0, "above the first line"
            self._row -= 1
            last = max(0, len(self._rows[self._row]) - 1) // self.columns
            self._column = self._column % self.columns + last * self.columns


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def surroundings(environ: Mapping[str, str] | None = None, stdin: int = -1) -> Surroundings:
    """A caller's world with two recorded streams and no other environment than *environ*."""
    return Surroundings(
        environ={"HOME": "/home/nobody"} | dict(environ or {}), stdin=stdin, stdout=Recorded(), stderr=Recorded()
    )
