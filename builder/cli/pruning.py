"""The options of all prune commands, and what they print."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.figures import moment, point, size
from builder.cli.options import Option, Parsed
from builder.cli.storing import confirmed, open_store, platform
from builder.cli.values import memory
from builder.engine.upkeep.pruning import PruneReport, PruneRequest, prune
from builder.errors import UsageError

FORCE = Option(name="force", short="f", kind="flag", summary="Do not ask")
FILTER = Option(
    name="filter",
    kind="list",
    metavar="KEY=VALUE",
    summary="until=24h (what was made, of the cache last used, before), label=NAME[=VALUE], label!=NAME[=VALUE]",
)
KEEP = Option(
    name="keep-storage",
    metavar="BYTES",
    summary="Keep as much build cache, as in 10g: the longest unused goes first",
)


def command(
    name: str,
    summary: str,
    options: tuple[Option, ...],
    examples: tuple[str, ...],
    wanted: Callable[[Parsed], tuple[bool, str, str]],
    warning: Callable[[Parsed], str],
) -> Command:
    """A prune command.

    wanted   gives whether containers may go, and which images and build cache (``pruning.KINDS``)
    warning  what is asked before it begins
    """

    def run(parsed: Parsed, world: Surroundings) -> int:
        containers, images, cache = wanted(parsed)
        request = _request(parsed, containers, images, cache)
        if not parsed.flag("force") and not confirmed(warning(parsed), world):
            world.stderr.write(f"{name} has been cancelled\n")
            return 1
        # Not by "with": that would be a use of the store, and nobody may use it while things are removed.
        store = open_store(parsed, world)
        try:
            report = prune(store, request, platform(parsed), lambda text: moment(text) or 0.0)
        finally:
            store.close()
        world.stdout.write(_told(report))
        if not report.alone:
            world.stderr.write(
                "note: builds are running: what they may want, and what is younger than an hour, stays\n"
            )
        return 0

    return Command(
        name=name,
        usage=f"{name} [OPTIONS]",
        description=summary,
        options=options,
        examples=examples,
        arguments=(0, 0),
        run=run,
    )


def _request(parsed: Parsed, containers: bool, images: str, cache: str) -> PruneRequest:
    before: float | None = None
    labels: list[tuple[str, str | None, bool]] = []
    for text in parsed.many("filter"):
        key, equals, value = text.partition("=")
        if key == "until" and equals:
            before = point(value, time.time())
            if before is None:
                raise UsageError(f"invalid filter {text!r}", code="invalid-filter", hint="as in until=24h")
        elif key in ("label", "label!") and value:
            name, given, wanted = value.partition("=")
            labels.append((name, wanted if given else None, key == "label"))
        else:
            raise UsageError(
                f"invalid filter {text!r}", code="invalid-filter", hint="until=24h, label=NAME, label!=NAME"
            )
    keep = memory(parsed.value("keep-storage"), "--keep-storage") if parsed.value("keep-storage") else None
    # The build cache has no labels: whoever asks for labels means images and containers alone.
    return PruneRequest(
        containers=containers,
        images=images,
        cache="none" if labels else cache,
        before=before,
        labelled=_labelled(labels) if labels else None,
        keep=keep,
    )


def _labelled(wanted: list[tuple[str, str | None, bool]]) -> Callable[[Mapping[str, str]], bool]:
    def check(labels: Mapping[str, str]) -> bool:
        return all(
            (name in labels and (value is None or labels[name] == value)) == there for name, value, there in wanted
        )

    return check


def _told(report: PruneReport) -> str:
    parts = []
    if report.containers:
        parts.append("Deleted Containers:\n" + "".join(f"{name}\n" for name in report.containers))
    if report.images:
        parts.append("Deleted Images:\n" + "".join(f"{one.kind.lower()}: {one.what}\n" for one in report.images))
    if report.cache:
        parts.append("Deleted build cache objects:\n" + "".join(f"{name}\n" for name in report.cache))
    parts.append(f"Total reclaimed space: {size(report.bytes)}\n")
    return "\n".join(parts)
