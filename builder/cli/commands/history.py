"""``pybuild history``."""

from __future__ import annotations

import time

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import at, moment, since, size
from builder.cli.options import Option, Parsed
from builder.cli.storing import PLATFORM, open_store, platform
from builder.cli.tables import OPTIONS, QUIET, Listing, Row, listed
from builder.cli.text import cut
from builder.engine.images.describing import Past, history
from builder.engine.images.kept import find
from builder.engine.images.sizes import Sizes

COMMAND_COLUMNS = 45
"""source: docker/cli, cli/command/formatter/image history: CreatedBy is cut to 45"""

_LISTING = Listing(
    columns=(
        ("IMAGE", "ID"),
        ("CREATED", "CreatedSince"),
        ("CREATED BY", "CreatedBy"),
        ("SIZE", "Size"),
        ("COMMENT", "Comment"),
    ),
    name="ID",
    headings={"CreatedAt": "CREATED AT"},
)


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show how an image came to be."""
    human = parsed.flag("human") or not parsed.given("human")
    with open_store(parsed, world) as store:
        sizes = Sizes(store)
        past = history(find(store, parsed.arguments[0], platform(parsed)), sizes)
        sizes.keep()
    now = time.time()
    world.stdout.write(listed(_LISTING, [_row(entry, parsed.flag("no-trunc"), human, now) for entry in past], parsed))
    return 0


def _row(entry: Past, whole: bool, human: bool, now: float) -> Row:
    made = moment(entry.created)
    command = entry.created_by.replace("\t", " ")
    return {
        "ID": "<missing>" if entry.id is None else str(entry.id) if whole else entry.id.hex[:12],
        "CreatedSince": since(made, now) if human else at(made),
        "CreatedAt": entry.created or "N/A",
        "CreatedBy": command if whole else cut(command, COMMAND_COLUMNS),
        "Size": size(entry.size) if human else entry.size,
        "Comment": entry.comment,
        "Bytes": entry.size,
        "Tags": list(entry.tags),
    }


COMMAND = Command(
    name="history",
    usage="history [OPTIONS] IMAGE",
    description="Shows the steps that made an image, the latest first, and the size of each one's layer.",
    options=(
        QUIET,
        Option(
            name="human",
            short="H",
            kind="flag",
            summary="Sizes and times as people write them (default); --human=false: bytes and dates",
        ),
        PLATFORM,
        *OPTIONS,
    ),
    examples=("pybuild history app", "pybuild history --no-trunc --format '{{.CreatedBy}}' app"),
    arguments=(1, 1),
    run=run,
)
