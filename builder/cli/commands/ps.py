"""``pybuild ps``."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import at, duration, moment, since
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store
from builder.cli.tables import OPTIONS, QUIET, Listing, Row, listed
from builder.cli.text import cut
from builder.errors import UsageError
from builder.store.containers import Container, Containers

_LISTING = Listing(
    columns=(
        ("CONTAINER ID", "ID"),
        ("IMAGE", "Image"),
        ("COMMAND", "Command"),
        ("CREATED", "RunningFor"),
        ("STATUS", "Status"),
        ("PORTS", "Ports"),
        ("NAMES", "Names"),
    ),
    name="ID",
    headings={"CreatedAt": "CREATED AT", "Labels": "LABELS", "State": "STATE"},
)
_FILTERS = ("name", "id", "ancestor", "exited", "label", "status")


def run(parsed: Parsed, world: Surroundings) -> int:
    """List containers."""
    tests = [_filter(text) for text in parsed.many("filter")]
    with open_store(parsed, world) as store:
        containers = [one for one in Containers(store).list() if all(test(one) for test in tests)]
    if parsed.given("last"):
        if not parsed.value("last").isdecimal():
            raise UsageError(f"--last {parsed.value('last')!r} is no number", code="invalid-value")
        containers = containers[: int(parsed.value("last"))]
    elif parsed.flag("latest"):
        containers = containers[:1]
    rows = [_row(one, parsed.flag("no-trunc")) for one in containers]
    world.stdout.write(listed(_LISTING, rows, parsed))
    return 0


def _row(container: Container, whole: bool) -> Row:
    now = time.time()
    created, finished = moment(container.created), moment(container.finished) or now
    command = shlex.join(container.argv)
    return {
        "ID": container.id if whole else container.id[:12],
        "Image": container.image_name,
        "Command": f'"{command if whole else cut(command, 20)}"',
        "RunningFor": since(created, now),
        "CreatedAt": at(created),
        "Status": f"Exited ({container.exit_code}) {duration(now - finished)} ago",
        "State": "exited",
        "Ports": "",
        "Names": container.name,
        "Labels": ",".join(f"{name}={value}" for name, value in (container.config.get("Labels") or {}).items()),
        "Mounts": ",".join(container.mounts),
        "ExitCode": container.exit_code,
    }


def _filter(text: str) -> Callable[[Container], bool]:
    key, equals, value = text.partition("=")
    tests: dict[str, Callable[[Container], bool]] = {
        "name": lambda one: value in one.name,
        "id": lambda one: one.id.startswith(value),
        "ancestor": lambda one: value in (one.image_name, one.image) or one.image.hex.startswith(value),
        "exited": lambda one: str(one.exit_code) == value,
        "status": lambda one: value == "exited",
        "label": lambda one: has_label(one, value),
    }
    if key not in tests or not equals:
        raise UsageError(f"invalid filter {text!r}", code="invalid-filter", hint="one of " + ", ".join(_FILTERS))
    return tests[key]


def has_label(container: Container, text: str) -> bool:
    """Whether the container has the label ``NAME[=VALUE]``."""
    name, equals, value = text.partition("=")
    labels = container.config.get("Labels") or {}
    return name in labels and (not equals or labels[name] == value)


COMMAND = Command(
    name="ps",
    usage="ps [OPTIONS]",
    description="Lists the containers that 'pybuild run' left; all of them have ended.",
    options=(
        QUIET,
        Option(name="all", short="a", kind="flag", summary="As Docker has it; all are shown anyway"),
        Option(
            name="filter",
            short="f",
            kind="list",
            metavar="KEY=VALUE",
            summary="name=, id=, ancestor=IMAGE, exited=CODE, label=NAME[=VALUE], status=exited",
        ),
        Option(name="last", short="n", metavar="N", summary="Show the last N"),
        Option(name="latest", short="l", kind="flag", summary="Show the last one"),
        *OPTIONS,
    ),
    examples=("pybuild ps", "pybuild ps -q --filter exited=0"),
    arguments=(0, 0),
    run=run,
)
