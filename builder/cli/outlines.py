"""What a build can be given, and its targets, as BuildKit prints them.

source   BuildKit, frontend/subrequests/outline/outline.go and targets/targets.go
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.cli.findings import indented, location
from builder.cli.text import harmless, width

if TYPE_CHECKING:
    from builder.plan.outline import Outline, Target, Wanted


def outline(found: Outline, text: bytes, wanted: str) -> str:
    """*found* in the format *wanted*: text or json.

    text   the Dockerfile, which the JSON holds
    """
    if wanted == "json":
        told: dict[str, object] = {"name": found.name, "description": found.description}
        told["args"] = [
            _present(name=one.name, description=one.description, value=one.value or "")
            | {"location": location(one.where)}
            for one in found.arguments
        ]
        told["secrets"] = [_wanted(one) for one in found.secrets]
        told["ssh"] = [_wanted(one) for one in found.ssh]
        told["sources"] = [b64encode(text).decode()]
        return indented(_present(**told))
    parts = []
    if found.name or found.description:
        about = [("TARGET:", found.name or "(default)")]
        if found.description:
            about.append(("DESCRIPTION:", found.description))
        parts.append(_columns(about, gap=1))
    if found.arguments:
        rows = [(one.name, one.value or "", one.description) for one in found.arguments]
        parts.append(_columns([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows], gap=3))
    for heading, mounts in (("SECRET", found.secrets), ("SSH", found.ssh)):
        if mounts:
            rows_of = [(one.name, "true" if one.required else "") for one in mounts]
            parts.append(_columns([(heading, "REQUIRED"), *rows_of], gap=3))
    return "".join(f"{part}\n" for part in parts)


def targets(found: Sequence[Target], text: bytes, wanted: str) -> str:
    """*found* in the format *wanted*, as for ``outline``."""
    if wanted == "json":
        stages = [
            _present(
                name=one.name, default=one.default, description=one.description, base=one.base, platform=one.platform
            )
            | {"location": location(one.where)}
            for one in found
        ]
        return indented({"targets": stages, "sources": [b64encode(text).decode()]})
    rows = [(_titled(one), one.description) for one in found]
    return _columns([("TARGET", "DESCRIPTION"), *rows], gap=1)


def _titled(target: Target) -> str:
    if not target.default:
        return target.name
    return f"{target.name} (default)" if target.name else "(default)"


def _present(**values: object) -> dict[str, object]:
    """What is not empty, as Go's ``omitempty`` leaves it."""
    return {name: value for name, value in values.items() if value}


def _wanted(one: Wanted) -> dict[str, object]:
    return _present(name=one.name, required=one.required) | {"location": location(one.where)}


def _columns(rows: Sequence[tuple[str, ...]], *, gap: int) -> str:
    """Rows with their columns below each other, *gap* blanks between them."""
    cells = [[harmless(cell) for cell in row] for row in rows]
    widths = [max(width(row[number]) for row in cells) for number in range(len(cells[0]))]
    padded = (
        "".join(cell + " " * (most - width(cell) + gap) for cell, most in zip(row, widths, strict=True))
        for row in cells
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)
