"""``pybuild builder prune``."""

from __future__ import annotations

from builder.cli.options import Option
from builder.cli.pruning import FILTER, FORCE, KEEP, command

COMMAND = command(
    "builder prune",
    "Removes build cache that is part of no image.",
    (
        Option(name="all", short="a", kind="flag", summary="All build cache, and cache mounts"),
        FORCE,
        FILTER,
        KEEP,
    ),
    ("pybuild builder prune", "pybuild builder prune -f --keep-storage 10g"),
    lambda parsed: (False, "none", "all" if parsed.flag("all") or parsed.given("keep-storage") else "dangling"),
    lambda parsed: (
        "WARNING! This will remove all build cache."
        if parsed.flag("all")
        else "WARNING! This will remove build cache that is part of no image."
    ),
)
