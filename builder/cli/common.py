"""Options that every command has; before the command's name they may stand as well."""

from __future__ import annotations

from builder.cli.options import Option

_GROUP = "Common options"

OPTIONS = (
    Option(
        name="root",
        metavar="FOLDER",
        group=_GROUP,
        summary="The store (default: $PYBUILD_ROOT, else $XDG_DATA_HOME/pybuild, else ~/.local/share/pybuild)",
    ),
    Option(name="debug", short="D", kind="flag", group=_GROUP, summary="Show where in pybuild an error arose"),
    Option(name="help", short="h", kind="flag", group=_GROUP, summary="Show this help"),
)
