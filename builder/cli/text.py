"""Text for people: foreign bytes made harmless, widths, sizes and times."""

from __future__ import annotations

import re

# ECMA-48: CSI sequences (5.4), and the control strings OSC, DCS, SOS, PM and APC (5.6) up to ST or BEL; an unfinished
# one at the end of what has come so far is left out as well. Then escapes of two or three characters (nF, Fp, Fe, Fs).
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|$)"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|\x1b?$)"
    r"|\x1b[ -/]*(?:[0-~]|$)"
)
_BACKSPACED = re.compile(r"[^\x08]\x08")


def harmless(line: str) -> str:
    """*line* without what would steer a terminal: sequences are left out, other control characters become escapes.

    Tabs become blanks up to the next multiple of eight, a carriage return starts the line anew, a backspace takes the
    character before it. Invisible and direction-changing characters (U+202E …) are shown as escapes, too.
    """
    if line.isprintable():
        return line
    line = _SEQUENCES.sub("", line)
    if "\r" in line:
        line = line.rstrip("\r").rpartition("\r")[2]
    if "\b" in line:
        line = _BACKSPACED.sub("", line)
    line = line.expandtabs(8)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def width(text: str) -> int:
    """How many columns *text* takes in a terminal; *text* must be harmless."""
    if text.isascii():
        return len(text)
    # Rarely needed, and a table of a megabyte.
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """*text*, shortened with an ellipsis to at most *columns*."""
    if len(text) <= columns and width(text) <= columns:
        return text
    if columns < 1:
        return ""
    # A character takes two columns at most, so that half of them always fit.
    end = min(len(text), columns - 1)
    while end and width(text[:end]) > columns - 1:
        end -= 1
    return text[:end] + "…"


def size(count: int) -> str:
    """*count* bytes as Docker writes them: ``4.1 MB``, decimal."""
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, iter(_UNITS)
    unit = next(units)
    while value >= 999.95 and unit != _UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}"


_UNITS = ("kB", "MB", "GB", "TB")


def seconds(count: float) -> str:
    """A time: ``1.2s``, and from a minute on ``3m07s``, ``1h02m07s``."""
    if count < 59.95:
        return f"{count:.1f}s"
    minutes, rest = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m{rest:02}s" if hours else f"{minutes}m{rest:02}s"
