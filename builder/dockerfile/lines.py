"""Physical lines → logical lines: continuations joined, comments and empty lines left out, places kept.

The rules are those of BuildKit's ``frontend/dockerfile/parser/parser.go`` (``Parse``), quirks included.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache

from builder.dockerfile.instructions import Word
from builder.dockerfile.source import SourceFile, Span
from builder.dockerfile.words import GO_SPACE
from builder.errors import DockerfileError

MAX_BYTES = 16 << 20
"""The largest file: BuildKit's clients send no message of more than 16 MiB (``DefaultMaxRecvMsgSize``)."""

MAX_LINES = 1_000_000
MAX_TEXT = 1 << 20
"""The most characters that all instructions together may have, comments and here-documents not counted."""

MAX_LINE_BYTES = 65_536
"""The longest physical line with its end: Go's ``bufio.MaxScanTokenSize``."""

_SURROGATES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """An instruction's text, and where each part of it stands in the file.

    offsets  where in the text each physical line's part begins, ascending
    pieces   the line and the column of each part
    shift    what is to be added to an offset, for a part of a line that is parsed on its own (ONBUILD)
    damaged  some bytes were not UTF-8; each is U+FFFD in ``text``
    """

    file: SourceFile
    text: str
    offsets: tuple[int, ...]
    pieces: tuple[tuple[int, int], ...]
    shift: int = 0
    damaged: bool = False

    def span(self, start: int, end: int) -> Span:
        """The place of ``text[start:end]``."""
        line, column = self._place(start + self.shift)
        if end <= start:
            return Span(self.file, line, column, line, column)
        end_line, end_column = self._place(end - 1 + self.shift)
        return Span(self.file, line, column, end_line, end_column + 1)

    def word(self, start: int, end: int, text: str | None = None, *, literal: bool = False) -> Word:
        """``text[start:end]`` as a word, or *text* if its quotes are already gone."""
        return Word(self.text[start:end] if text is None else text, self.span(start, end), literal)

    def tail(self, start: int, end: int) -> LogicalLine:
        """``text[start:end]`` as a line of its own."""
        return LogicalLine(self.file, self.text[start:end], self.offsets, self.pieces, self.shift + start, self.damaged)

    def _place(self, offset: int) -> tuple[int, int]:
        at = max(bisect_right(self.offsets, offset) - 1, 0)
        line, column = self.pieces[at]
        return line, column + offset - self.offsets[at]


@dataclass(slots=True)
class Lines:
    """The physical lines of a file and how far they have been read.

    raw    with a carriage return if the file has one, and bytes that are not UTF-8 as surrogates
    final  whether the last line has an end
    """

    file: SourceFile
    raw: list[str]
    final: bool
    next: int = 0
    spent: int = 0
    comments: list[str] = field(default_factory=list)
    empty: list[Span] = field(default_factory=list)

    def place(self, index: int) -> Span:
        """The whole of the physical line *index*, counted from 0; the last one if there are fewer."""
        index = max(0, min(index, len(self.file.lines) - 1))
        width = len(self.file.lines[index]) if self.file.lines else 0
        return Span(self.file, index + 1, 0, index + 1, width)

    def with_end(self, index: int) -> str:
        """A physical line as it stands in the file, for here-documents."""
        return self.raw[index] + ("\n" if self.final or index + 1 < len(self.raw) else "")


def read_lines(data: bytes, name: str) -> Lines:
    """Split *data* into physical lines.

    raises  DockerfileError ``dockerfile-too-large``, ``line-too-long``, ``empty-dockerfile``
    """
    empty_file = SourceFile(name, ())
    start = Span(empty_file, 0, 0, 0, 0)
    if not data:
        raise DockerfileError("the Dockerfile cannot be empty", code="empty-dockerfile", where=start)
    if len(data) > MAX_BYTES:
        raise DockerfileError(
            f"the Dockerfile has {len(data)} bytes, more than the {MAX_BYTES} that are allowed",
            code="dockerfile-too-large",
            where=start,
        )
    if data.count(b"\n") > MAX_LINES:
        raise DockerfileError(
            f"the Dockerfile has more than {MAX_LINES} lines", code="dockerfile-too-large", where=start
        )
    _check_lengths(data, name)
    # A byte order mark is ignored at the start of the file, and nowhere else.
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    raw = text.split("\n")
    final = raw[-1] == ""
    if final:
        raw.pop()
    shown = _SURROGATES.sub("\ufffd", text) if _SURROGATES.search(text) else text
    return Lines(SourceFile(name, tuple(line.rstrip("\r") for line in shown.split("\n")[: len(raw)])), raw, final)


def _check_lengths(data: bytes, name: str) -> None:
    if len(data) < MAX_LINE_BYTES:
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) >= MAX_LINE_BYTES:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES - 1}",
                code="line-too-long",
                where=Span(SourceFile(name, ()), number, 0, number, 0),
                hint="continue the line with a backslash at its end, or put the text into a here-document",
            )


@lru_cache(maxsize=4)
def _continuation(escape: str) -> re.Pattern[str]:
    """The escape character at the end of a line, unless another stands before it.

    ``$`` in Go is the very end; ``(?<!x)`` says what BuildKit spells ``([^x])x|^x``.
    """
    sign = re.escape(escape)
    return re.compile(f"(?<!{sign}){sign}[ \t]*\\Z")


def is_comment(line: str) -> bool:
    """Whether the first character that is no space is a ``#``."""
    return line.lstrip(GO_SPACE).startswith("#")


def next_line(lines: Lines, escape: str) -> LogicalLine | None:
    """The next instruction's logical line, or None at the end. Its comments are left in ``lines.comments``."""
    while lines.next < len(lines.raw):
        index = lines.next
        text = lines.raw[index].rstrip("\r")
        body = text.lstrip(GO_SPACE)
        if body.startswith("#"):
            _note_comment(lines, text)
            lines.next += 1
        elif not body:
            lines.next += 1
        else:
            return _joined(lines, escape, len(text) - len(body))
    return None


def _note_comment(lines: Lines, text: str) -> None:
    # The first character goes, be it "#" or a space before it: so BuildKit, for which an empty comment ends a block.
    comment = _SURROGATES.sub("\ufffd", text[1:]).strip(GO_SPACE)
    if comment:
        lines.comments.append(comment)
    else:
        lines.comments.clear()


def _joined(lines: Lines, escape: str, indent: int) -> LogicalLine:
    first = lines.next
    continuation = _continuation(escape)
    parts: list[str] = []
    offsets: list[int] = []
    pieces: list[tuple[int, int]] = []
    length = 0
    empty = False
    while lines.next < len(lines.raw):
        index = lines.next
        lines.next += 1
        text = lines.raw[index].rstrip("\r")
        if index > first and is_comment(text):
            continue
        if index > first and not text.lstrip(GO_SPACE):
            empty = True
            continue
        column = indent if index == first else 0
        found = continuation.search(text, column)
        part = text[column : found.start()] if found else text[column:]
        parts.append(part)
        offsets.append(length)
        pieces.append((index + 1, column))
        length += len(part)
        lines.spent += len(part)
        if lines.spent > MAX_TEXT:
            lines.next = len(lines.raw)
            raise DockerfileError(
                f"the instructions of the Dockerfile have more than {MAX_TEXT} characters",
                code="dockerfile-too-large",
                where=lines.place(first),
                hint="put long texts into files of the build context, or into here-documents",
            )
        if not found:
            break
    if empty:
        # BuildKit says so of the instruction's last line.
        lines.empty.append(lines.place(lines.next - 1))
    joined = "".join(parts)
    shown = _SURROGATES.sub("\ufffd", joined)
    return LogicalLine(lines.file, shown, tuple(offsets), tuple(pieces), damaged=shown != joined)
