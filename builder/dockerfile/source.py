"""Where text stands: a source file and spans of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class SourceFile:
    """A file's name as people know it, and its lines without their ends.

    Compared by identity; a span keeps the file it is of alive.
    """

    name: str
    lines: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """From (line, column) to (end_line, end_column); lines count from 1, columns from 0, the end is exclusive."""

    file: SourceFile
    line: int
    column: int
    end_line: int
    end_column: int

    def describe(self) -> str:
        """The place with its first line and a caret under what is meant::

        Dockerfile:7
          COPY --from=biulder /out /usr/bin/
                      ^^^^^^^
        """
        head = f"{self.file.name}:{self.line}" if self.line else self.file.name
        if not 0 < self.line <= len(self.file.lines):
            return head
        text = self.file.lines[self.line - 1]
        end = self.end_column if self.end_line == self.line else len(text)
        start = min(self.column, len(text))
        shift = max(0, min(start - 60, len(text) - 160)) if len(text) > 160 else 0
        shown = text[shift : shift + 160]
        marks = max(1, min(end, len(text), shift + 160) - start)
        # What would move a terminal's cursor, or turn the text around, is not shown as it is.
        shown = "".join(c if c.isprintable() or c in "\t\xa0\u3000" else "\ufffd" for c in shown)
        # A tab is as wide as the terminal makes it: repeat it, so that the caret stands where the text does.
        pad = "".join("\t" if c == "\t" else " " for c in shown[: start - shift])
        return f"{head}\n  {shown}\n  {pad}{'^' * marks}"

    def __reduce__(self) -> tuple[object, ...]:
        # An error crosses the gate with one line of its file, not with all of them.
        line = self.file.lines[self.line - 1] if 0 < self.line <= len(self.file.lines) else ""
        return _restore, (self.file.name, line, self.line, self.column, self.end_line, self.end_column)


def _restore(name: str, text: str, line: int, column: int, end_line: int, end_column: int) -> Span:
    lines = ("",) * (line - 1) + (text,) if 0 < line <= 100_000 else ()
    return Span(SourceFile(name, lines), line, column, end_line, end_column)
