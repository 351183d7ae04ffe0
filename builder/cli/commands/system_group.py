"""``pybuild system``."""

from __future__ import annotations

from builder.cli.commands.group import group

COMMAND = group("system", "The store as a whole")
