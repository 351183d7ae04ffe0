"""``pybuild container``."""

from __future__ import annotations

from builder.cli.commands.group import group

COMMAND = group("container", "Containers that 'pybuild run' left")
