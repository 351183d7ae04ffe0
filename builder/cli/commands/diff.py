"""``pybuild diff``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import PLATFORM, open_store, platform
from builder.cli.tables import as_json
from builder.cli.text import harmless
from builder.engine.images.differing import Difference, of_container, of_image, of_images
from builder.engine.images.kept import find
from builder.errors import ImageError
from builder.store.containers import Containers
from builder.store.store import Store


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show what changed."""
    with open_store(parsed, world) as store:
        found = _differences(parsed, store)
    if parsed.flag("json"):
        world.stdout.write(as_json([{"Kind": one.kind, "Path": one.path} for one in found]))
    else:
        world.stdout.write("".join(f"{one.kind} {harmless(one.path)}\n" for one in found))
    return 0


def _differences(parsed: Parsed, store: Store) -> list[Difference]:
    wanted = platform(parsed)
    if len(parsed.arguments) == 2:
        before, after = (find(store, text, wanted) for text in parsed.arguments)
        return of_images(store, before, after)
    text = parsed.arguments[0]
    container = Containers(store).find(text)
    if container is not None:
        return of_container(store, container)
    try:
        return of_image(store, find(store, text, wanted))
    except ImageError as e:
        if e.code != "no-such-image":
            raise
        raise ImageError(f"no such container or image: {text}", code="no-such-object", hint=e.hint) from None


COMMAND = Command(
    name="diff",
    usage="diff CONTAINER | IMAGE [IMAGE]",
    description=(
        "Shows what was added (A), changed (C) and deleted (D): in a container, by the last layer of an image, or from "
        "one image to another."
    ),
    options=(Option(name="json", kind="flag", summary="Print one JSON array"), PLATFORM),
    examples=("pybuild diff try", "pybuild diff app", "pybuild diff app:1 app:2"),
    arguments=(1, 2),
    run=run,
)
