"""Messages from behind the gate: pickled values in frames, over a pipe.

A frame is one byte that says what it is, eight bytes of length, and so many bytes. Both ends are this program, so that
pickle is safe; the bound is against our own mistakes.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
from dataclasses import dataclass
from typing import BinaryIO

from builder.errors import BuilderError, InternalError

LIMIT = 256 << 20
"""Bytes of one message at the most."""

MESSAGE, RESULT, ERROR, INTERRUPTED = b"m", b"r", b"e", b"i"
_HEAD = struct.Struct("=cQ")


def as_internal(error: BaseException) -> BuilderError:
    """An exception that nobody expected: what the machine refused, else our mistake; its traceback is the note."""
    # Only what fails pays for this import.
    from builder.sandbox import unexpected

    mistake = unexpected.told(error)
    mistake.add_note(unexpected.trace(error))
    return mistake


class Sender:
    """Writes frames; threads may share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, kind: bytes, value: object) -> None:
        """Write one frame. raises InternalError for what cannot be pickled, or is too large."""
        try:
            data = pickle.dumps(value, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise InternalError(f"a message cannot cross the gate: {error}", code="unpicklable-message") from error
        if len(data) > LIMIT:
            raise InternalError(f"a message of {len(data)} bytes cannot cross the gate", code="message-too-large")
        with self._lock:
            view = memoryview(_HEAD.pack(kind, len(data)) + data)
            while view:
                view = view[os.write(self._fd, view) :]


@dataclass(slots=True)
class Receiver:
    """Reads frames, from a file buffered or not."""

    file: BinaryIO | io.RawIOBase

    def receive(self) -> tuple[bytes, object] | None:
        """The next frame, or None where the other end is gone."""
        head = self._read(_HEAD.size)
        if head is None:
            return None
        kind, length = _HEAD.unpack(head)
        if length > LIMIT:
            raise InternalError(f"a message of {length} bytes came through the gate", code="message-too-large")
        data = self._read(length)
        return None if data is None else (kind, pickle.loads(data))

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            part = self.file.read(size - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)
