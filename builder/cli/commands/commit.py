"""``pybuild commit``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store
from builder.engine.containers.committing import Note, commit
from builder.image.names import Reference

CHANGE = Option(
    name="change", short="c", kind="list", metavar="INSTRUCTION", summary="Change how the image is run: 'CMD [\"sh\"]'"
)


def run(parsed: Parsed, world: Surroundings) -> int:
    """Make an image of a container."""
    container, *names = parsed.arguments
    name = Reference.parse(names[0]) if names else None
    note = Note(author=parsed.value("author"), message=parsed.value("message"), changes=parsed.many("change"))
    with open_store(parsed, world) as store:
        world.stdout.write(f"{commit(store, container, name, note)}\n")
    return 0


COMMAND = Command(
    name="commit",
    usage="commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    description=(
        "Makes an image of a container that 'pybuild run' left: the image that it was made of, a layer of what the "
        "command changed, and the way it was run."
    ),
    options=(
        Option(name="author", short="a", metavar="TEXT", summary="Who made it: 'Jo <jo@example.com>'"),
        Option(name="message", short="m", metavar="TEXT", summary="What there is to say"),
        CHANGE,
        Option(name="pause", short="p", kind="flag", summary="As Docker has it; the container has ended anyway"),
    ),
    examples=(
        "pybuild run --name try debian apt-get install -y jq",
        "pybuild commit -m 'with jq' -c 'CMD [\"bash\"]' try debian-jq",
    ),
    arguments=(1, 2),
    run=run,
)
