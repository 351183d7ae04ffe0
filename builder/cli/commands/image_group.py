"""``pybuild image``."""

from __future__ import annotations

from builder.cli.commands.group import group

COMMAND = group("image", "Images of the store")
