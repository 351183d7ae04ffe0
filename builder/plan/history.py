"""What ``created_by`` says: Go's formats, as BuildKit prints them.

source   Go, strconv.Quote (%q), fmt (%v), time.Duration.String; BuildKit, convert.go: commitToHistory and its callers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.dockerfile.instructions import Healthcheck
from builder.dockerfile.quoting import quoted
from builder.image.configuration import HistoryEntry

COMMENT = "buildkit.dockerfile.v0"


def entry(created_by: str, *, created: str | None, layer: bool = False) -> HistoryEntry:
    """A history entry of a Dockerfile's instruction."""
    return HistoryEntry(created_by=created_by, created=created, empty_layer=not layer, comment=COMMENT)


def quoted_list(words: Iterable[str]) -> str:
    """Words as %q writes a slice: ``["a" "b"]``."""
    return "[" + " ".join(quoted(word) for word in words) + "]"


def plain_list(words: Iterable[str]) -> str:
    """Words as %v writes a slice: ``[a b]``."""
    return "[" + " ".join(words) + "]"


def run_text(argv: Sequence[str], args: Iterable[tuple[str, str | None]], env: Mapping[str, str]) -> str:
    """A command after the arguments that it may have used: ``|1 A=x /bin/sh -c true``."""
    values = {name: env.get(name, default or "") for name, default in args}
    before = [f"|{len(values)}", *(f"{name}={value}" for name, value in values.items())] if values else []
    return " ".join([*before, *argv])


def healthcheck_text(test: Sequence[str], check: Healthcheck) -> str:
    """A health check as %+v writes the Docker object."""
    return (
        f"{{Test:{plain_list(test)} Interval:{duration(check.interval)} Timeout:{duration(check.timeout)}"
        f" StartPeriod:{duration(check.start_period)} StartInterval:{duration(check.start_interval)}"
        f" Retries:{check.retries}}}"
    )


def duration(nanoseconds: int) -> str:
    """``1m30s``, as Go writes a duration."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    if nanoseconds < 1000:
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    for unit, size in (("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1000:
            return _decimal(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(rest, 1_000_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = str(part).rjust(len(str(unit)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
