"""Numbers as Go reads them: durations, integers, truth values."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?(?P<unit>[^0-9.]*)")
_MAX = (1 << 63) - 1
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def duration(text: str) -> int:
    """Nanoseconds of ``1h30m``, ``1.5s``, ``300ms``.

    raises  ValueError, worded as Go's ``time.ParseDuration`` words it
    """
    invalid = f'time: invalid duration "{text[:80]}"'
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    if not body or len(body) > 100:
        raise ValueError(invalid)
    total = 0
    at = 0
    while at < len(body):
        found = _PART.match(body, at)
        if not found or not (found["whole"] or found["part"]):
            raise ValueError(invalid)
        unit, part = found["unit"], found["part"] or ""
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += int(found["whole"] or "0") * _UNITS[unit] + int(part or "0") * _UNITS[unit] // 10 ** len(part)
        if total > _MAX:
            raise ValueError(invalid)
        at = found.end()
    return -total if text[0] == "-" else total


def integer(text: str, bits: int) -> int:
    """A decimal number of so many bits, sign included.

    raises  ValueError, worded as Go's ``strconv.ParseInt`` words it
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'strconv.ParseInt: parsing "{text[:80]}": invalid syntax')
    digits = text.lstrip("+-").lstrip("0")
    value = int(digits or "0") if len(digits) <= 30 else 1 << 64
    value = -value if text[0] == "-" else value
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f'strconv.ParseInt: parsing "{text[:80]}": value out of range')
    return value


def truth(text: str) -> bool | None:
    """What Go's ``strconv.ParseBool`` makes of a word; None if that is nothing."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None
