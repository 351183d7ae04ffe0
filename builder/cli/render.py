"""Which display is taken."""

from __future__ import annotations

from collections.abc import Mapping

from builder.cli.diagnostics import Style
from builder.cli.display import Display
from builder.cli.environment import wants_colours
from builder.cli.streams import Stream
from builder.errors import UsageError

MODES = ("auto", "tty", "plain", "json", "rawjson", "quiet", "none")


def mode_of(progress: str, quiet: bool, out: Stream, environ: Mapping[str, str]) -> str:
    """The display wanted: one of MODES but ``auto`` and ``rawjson``.

    progress  ``--progress``, or ""; then ``BUILDKIT_PROGRESS`` decides
    raises    UsageError (``invalid-value``)
    source    docker/buildx, commands/build.go, toDisplayMode
    """
    wanted = progress or environ.get("BUILDKIT_PROGRESS", "") or "auto"
    if wanted not in MODES:
        raise UsageError(
            f"BUILDKIT_PROGRESS: there is no progress {wanted!r}",
            code="invalid-value",
            hint="one of " + ", ".join(MODES),
        )
    if quiet:
        if progress not in ("", "auto", "quiet"):
            raise UsageError(f"--progress={progress} and --quiet cannot be used together", code="invalid-value")
        return "quiet"
    if wanted == "auto":
        return "tty" if out.is_terminal() and environ.get("TERM", "") not in ("", "dumb") else "plain"
    if progress == "tty" and not out.is_terminal():
        raise UsageError("--progress=tty: stderr is not a terminal", code="invalid-value", hint="use --progress=plain")
    if wanted == "tty" and not out.is_terminal():
        return "plain"
    return "json" if wanted == "rawjson" else wanted


def display(mode: str, out: Stream, environ: Mapping[str, str]) -> Display:
    """The display for *mode*."""
    style = Style(wants_colours(out, environ))
    # One of them is wanted, never all.
    if mode == "tty":
        from builder.cli.tty import Terminal

        return Terminal(out, style)
    if mode == "plain":
        from builder.cli.plain import Plain

        return Plain(out, style)
    if mode == "json":
        from builder.cli.rawjson import RawJson

        return RawJson(out, style)
    return Display(out, style)
