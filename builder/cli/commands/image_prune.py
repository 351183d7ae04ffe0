"""``pybuild image prune``."""

from __future__ import annotations

from builder.cli.options import Option
from builder.cli.pruning import FILTER, FORCE, command

COMMAND = command(
    "image prune",
    "Removes images without a name. What they were built of stays as build cache: see 'pybuild prune'.",
    (Option(name="all", short="a", kind="flag", summary="All images that no container was made of"), FORCE, FILTER),
    ("pybuild image prune", "pybuild image prune -a --filter until=24h"),
    lambda parsed: (False, "all" if parsed.flag("all") else "dangling", "none"),
    lambda parsed: (
        "WARNING! This will remove all images that no container was made of."
        if parsed.flag("all")
        else "WARNING! This will remove all dangling images."
    ),
)
