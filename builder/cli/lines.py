"""Bytes as they come, cut into lines: what a step writes, in bounded memory."""

from __future__ import annotations

import codecs
from collections import deque

from builder.cli.text import harmless

LINE_LIMIT = 16384
"""Characters after which a line without an end is cut."""

TAIL = 50
"""Lines of a step that are kept, to be shown if it fails."""


class Lines:
    """One stream of one step. Invalid UTF-8 is shown as backslash escapes; lines are harmless (text.harmless)."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._partial = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that *data* completes."""
        return self._split(self._decoder.decode(data))

    def flush(self) -> list[str]:
        """What is left without an end, as a last line."""
        found = self._split(self._decoder.decode(b"", True))
        if self._partial:
            found.append(harmless(self._partial))
            self._partial = ""
        return found

    @property
    def partial(self) -> str:
        """The line that is being written."""
        return harmless(self._partial)

    def _split(self, text: str) -> list[str]:
        if not text:
            return []
        *whole, rest = (self._partial + text).split("\n")
        found = [harmless(line) for line in whole]
        while len(rest) > LINE_LIMIT:
            # A progress bar redraws its line for ever: what a carriage return took back needs no keeping.
            rest = rest[max(0, rest.rfind("\r", 0, -1)) :]
            if len(rest) > LINE_LIMIT:
                found.append(harmless(rest[:LINE_LIMIT]))
                rest = rest[LINE_LIMIT:]
        self._partial = rest
        return found


class Log:
    """What one step writes on both its streams, and its last lines."""

    def __init__(self) -> None:
        self._streams: dict[int, Lines] = {}
        self.tail: deque[str] = deque(maxlen=TAIL)

    def feed(self, stream: int, data: bytes) -> list[str]:
        """The lines that *data* completes."""
        lines = self._streams.get(stream)
        if lines is None:
            lines = self._streams[stream] = Lines()
        found = lines.feed(data)
        self.tail.extend(found)
        return found

    def flush(self) -> list[str]:
        """What is left without an end."""
        found = [line for lines in self._streams.values() for line in lines.flush()]
        self.tail.extend(found)
        return found

    def last(self, count: int) -> list[str]:
        """The last *count* lines as they stand, unfinished ones included."""
        partial = [text for text in (lines.partial for lines in self._streams.values()) if text]
        return [*self.tail, *partial][-count:]
