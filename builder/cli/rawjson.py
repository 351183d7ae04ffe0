"""Events as JSON, one object a line, for programs."""

from __future__ import annotations

import codecs
import json
import re
import time
from dataclasses import fields

from builder.cli.diagnostics import Style
from builder.cli.display import Clock, Display
from builder.cli.streams import Stream
from builder.errors import BuilderError, CommandFailed
from builder.events import Event, StepOutput


class RawJson(Display):
    """Each object has ``event``, the event's name (``step-started``), ``time`` in seconds since the start, and the
    event's fields. Output is text, in which bytes that are not UTF-8 are backslash escapes. An error is an object, too.
    """

    def __init__(self, out: Stream, style: Style, clock: Clock = time.monotonic) -> None:
        super().__init__(out, style, clock)
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def emit(self, event: Event) -> None:
        """Write *event*."""
        super().emit(event)
        found: dict[str, object] = {field.name: getattr(event, field.name) for field in fields(event)}
        if isinstance(event, StepOutput):
            found["data"] = self._text(event)
            if not found["data"]:
                return
        self._write(_kebab(type(event).__name__), found)

    def fail(self, error: BuilderError) -> None:
        """Write *error*."""
        self._write("error", _facts(error))

    def interrupted(self) -> None:
        """Write that the caller ended it."""
        self._write("interrupted", {})

    def _text(self, event: StepOutput) -> str:
        key = event.step, event.stream
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        return decoder.decode(event.data)

    def _write(self, event: str, found: dict[str, object]) -> None:
        stamped = {"event": event, "time": round(self.clock() - self.born, 3)} | found
        self.out.write(json.dumps(stamped) + "\n")


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _facts(error: BuilderError) -> dict[str, object]:
    found: dict[str, object] = {"code": error.code, "message": error.message, "hint": error.hint}
    found["where"] = error.where.describe() if error.where else None
    if isinstance(error, CommandFailed):
        found["exit_code"] = error.exit_code
    return found | {"also": [_facts(one) for one in error.also]}
