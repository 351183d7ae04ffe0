"""``pybuild prune``."""

from __future__ import annotations

from builder.cli.options import Option, Parsed
from builder.cli.pruning import FILTER, FORCE, KEEP, command


def _wanted(parsed: Parsed) -> tuple[bool, str, str]:
    kind = "all" if parsed.flag("all") else "dangling"
    # As with buildx: whoever says how much cache may stay means the cache.
    return (False, "none", "all") if parsed.given("keep-storage") else (True, kind, kind)


def _warning(parsed: Parsed) -> str:
    lines = ["WARNING! This will remove:"]
    if parsed.given("keep-storage"):
        return "\n".join([*lines, f"  - build cache beyond {parsed.value('keep-storage')}"])
    lines.append("  - all containers")
    if parsed.flag("all"):
        lines += ["  - all images that no container was made of", "  - all build cache, and cache mounts"]
    else:
        lines += ["  - all dangling images", "  - build cache that is part of no image"]
    lines += [f"\nItems to be pruned will be filtered with:\n{text}" for text in parsed.many("filter")]
    return "\n".join(lines)


COMMAND = command(
    "prune",
    (
        "Removes what is not used: containers, images without a name, build cache that is part of no image, and what "
        "builds that were killed left behind. Whoever builds meanwhile is not disturbed."
    ),
    (
        Option(
            name="all",
            short="a",
            kind="flag",
            summary="All images that no container was made of, all build cache, and cache mounts",
        ),
        FORCE,
        FILTER,
        KEEP,
        Option(name="volumes", kind="flag", summary="As Docker has it; there are no volumes", hidden=True),
    ),
    ("pybuild prune", "pybuild prune -a -f --filter until=168h", "pybuild prune -f --keep-storage 10g"),
    _wanted,
    _warning,
)
