"""``pybuild inspect``: images and containers, as JSON or through a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import FORMAT, PLATFORM, each, open_store, platform
from builder.engine.images.describing import inspected
from builder.engine.images.kept import find
from builder.engine.images.sizes import Sizes
from builder.errors import BuilderError, ImageError
from builder.store.containers import Containers
from builder.store.store import Store


def run(parsed: Parsed, world: Surroundings) -> int:
    """Show what is known of images and containers; 1 if one is not there."""
    with open_store(parsed, world) as store:
        return show(parsed, world, _finder(parsed, store))


def show(parsed: Parsed, world: Surroundings, find_one: Callable[[str], dict[str, Any]]) -> int:
    """Write what *find_one* says of each argument: a JSON array of all, or a line each through ``--format``."""
    from builder.cli.template import Template

    wanted = parsed.value("format")
    template = Template(wanted) if wanted not in ("", "json") else None
    found: list[dict[str, Any]] = []
    code = each(parsed.arguments, lambda text: found.append(find_one(text)), parsed, world)
    if template is not None:
        for value in found:
            world.stdout.write(template.render(opened(value)) + "\n")
    else:
        world.stdout.write(as_json(found, lines=wanted == "json"))
    return code


def as_json(found: list[dict[str, Any]], *, lines: bool) -> str:
    """As Docker shows it: an indented array; or one object on each line."""
    import json

    if lines:
        return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in found)
    return json.dumps(found, indent=4, ensure_ascii=False) + "\n"


def opened(value: Any) -> Any:
    """*value* with those objects as open ones that may have any keys: no label that is not there is a mistake."""
    from builder.cli.template_values import Open

    if isinstance(value, dict):
        return {
            key: Open(item) if key in _ANY_KEYS and isinstance(item, dict) else opened(item)
            for key, item in value.items()
        }
    return [opened(item) for item in value] if isinstance(value, list) else value


_ANY_KEYS = ("Labels", "Volumes", "ExposedPorts", "annotations")


def _finder(parsed: Parsed, store: Store) -> Callable[[str], dict[str, Any]]:
    kind = parsed.value("type")
    containers = Containers(store)

    def find_one(text: str) -> dict[str, Any]:
        container = containers.find(text) if kind != "image" else None
        if container is not None:
            return container.inspected()
        if kind == "container":
            raise ImageError(f"no such container: {text}", code="no-such-container", hint="'pybuild ps -a' lists them")
        sizes = Sizes(store)
        try:
            value = inspected(store, find(store, text, platform(parsed)), sizes)
        except BuilderError as e:
            if e.code == "no-such-image" and not kind:
                raise ImageError(f"no such image or container: {text}", code="no-such-object", hint=e.hint) from None
            raise
        sizes.keep()
        return value

    return find_one


COMMAND = Command(
    name="inspect",
    usage="inspect [OPTIONS] NAME|ID...",
    description="Shows all that is known of images and containers, as JSON in Docker's form.",
    options=(
        FORMAT,
        Option(name="json", kind="flag", summary="As JSON, which is the default"),
        Option(name="type", metavar="KIND", choices=("image", "container"), summary="Look for these only"),
        PLATFORM,
    ),
    examples=(
        "pybuild inspect app",
        "pybuild inspect --format '{{.Config.Env}}' app",
        "pybuild inspect -f '{{json .Config.Labels}}' app",
    ),
    arguments=(1, None),
    run=run,
)
