"""Where text goes: a stream that is written whole, at once, and that may vanish without harm."""

from __future__ import annotations

import os
from typing import Protocol

from builder.errors import HostError


class Stream(Protocol):
    """Something to write text to."""

    def write(self, text: str) -> None:
        """Write all of *text* now."""
        ...

    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        ...

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        ...


class Descriptor:
    """A stream over a file descriptor, unbuffered, in UTF-8.

    fd       stays the caller's
    vanish   True: a reader that went away, or a full disk, silences the stream instead of raising. Progress is worth
             less than the build that it tells of; results are not, so stdout raises BrokenPipeError.
    """

    def __init__(self, fd: int, *, vanish: bool = False) -> None:
        self.fd = fd
        self.vanish = vanish
        self.gone = False

    def write(self, text: str) -> None:
        """Write all of *text* now; what cannot be encoded is written as a backslash escape."""
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest and not self.gone:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                # Some programs leave the terminal that they share with us in non-blocking mode.
                import select

                select.select((), (self.fd,), ())
            except BrokenPipeError:
                if not self.vanish:
                    raise
                self.gone = True
            except OSError as error:
                if not self.vanish:
                    raise HostError(
                        f"the results cannot be written: {error.strerror}",
                        code="output-unwritable",
                        hint="standard output leads to where no more can be written: let it lead elsewhere",
                    ) from error
                self.gone = True

    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        try:
            return os.isatty(self.fd)
        except OSError:
            return False

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now; 80 by 24 where the terminal does not say."""
        try:
            columns, lines = os.get_terminal_size(self.fd)
        except OSError:
            return 80, 24
        return columns or 80, lines or 24
