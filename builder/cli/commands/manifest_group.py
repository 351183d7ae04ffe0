"""``pybuild manifest``."""

from __future__ import annotations

from builder.cli.commands.group import group

COMMAND = group("manifest", "Manifests and lists of them")
