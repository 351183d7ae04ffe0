"""``pybuild container prune``."""

from __future__ import annotations

from builder.cli.pruning import FILTER, FORCE, command

COMMAND = command(
    "container prune",
    "Removes all containers that 'pybuild run' left.",
    (FORCE, FILTER),
    ("pybuild container prune", "pybuild container prune -f --filter until=24h"),
    lambda parsed: (True, "none", "none"),
    lambda parsed: "WARNING! This will remove all containers.",
)
