"""Sizes and times as Docker's listings show them."""

from __future__ import annotations

import datetime
import re

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """``4.12MB``: decimal, three digits. source: docker/go-units, size.go, HumanSizeWithPrecision"""
    value, unit = float(count), 0
    # Rounded first, so that 999.7 kB becomes 1MB and not 1e+03kB.
    while float(f"{value:.3g}") >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}"


def duration(seconds: float) -> str:
    """``3 weeks``. source: docker/go-units, duration.go, HumanDuration"""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    if hours < 24 * 7 * 2:
        return f"{days} days"
    if hours < 24 * 30 * 2:
        return f"{days // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{days // 30} months"
    return f"{days // 365} years"


def since(moment: float | None, now: float) -> str:
    """``3 weeks ago``; ``N/A`` where there is no moment."""
    return "N/A" if moment is None else f"{duration(now - moment)} ago"


def at(moment: float | None) -> str:
    """``2024-05-01 12:00:00 +0000 UTC``, as Go writes it."""
    if moment is None:
        return "N/A"
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)")


def moment(text: str | None) -> float | None:
    """Seconds since the epoch of what RFC 3339 says, with nanoseconds or without; None for no time."""
    found = _RFC3339.fullmatch(text or "")
    if not found:
        return None
    zone = "+00:00" if found[4] in "Zz" else found[4]
    try:
        return datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp() + float(f"0.{found[3] or 0}")
    except ValueError:
        return None


_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def go_duration(text: str) -> float | None:
    """Seconds of Go's ``1h30m``; None if it is none."""
    if not re.fullmatch(rf"(?:{_PARTS.pattern})+", text):
        return None
    return sum(float(match[1]) * _SECONDS[match[2]] for match in _PARTS.finditer(text))


def point(text: str, now: float) -> float | None:
    """The moment that ``until=`` means: a duration back from *now*, a date, a time, or seconds since the epoch.

    source   docker/cli, docs/reference/commandline/image_prune.md, "Filtering"; moby, api/types/time/timestamp.go
    """
    back = go_duration(text)
    if back is not None:
        return now - back
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        return moment(text)
    return parsed.timestamp()
