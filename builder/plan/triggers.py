"""ONBUILD: instructions that a base, or a stage, leaves to those who build upon it.

source   BuildKit, convert.go: resolveStages, initOnBuildTriggers
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from builder.dockerfile.instructions import Instruction, Onbuild
from builder.dockerfile.source import Span
from builder.errors import DockerfileError
from builder.plan.findings import mistake
from builder.plan.graph import Command, Graph, Node
from builder.plan.sources import connect
from builder.plan.steps import Base, BaseKey

ParseTrigger = Callable[[str, Span], Instruction]


def add_triggers(graph: Graph, bases: Mapping[BaseKey, Base], target: Node, parse: ParseTrigger) -> frozenset[BaseKey]:
    """Put the ONBUILD triggers before the instructions of the stages that inherit them.

    returns  the bases that must be known before it can be said whether there are more
    """
    while True:
        missing: set[BaseKey] = set()
        grown = False
        for node in graph.reachable(target):
            missing.update(_unknown(node, bases))
            if node.triggers_added or node.is_image or (node.key is not None and node.key not in bases):
                continue
            node.triggers_added = True
            commands = [_trigger(graph, node, text, parse) for text in _triggers(node, bases)]
            node.commands[:0] = commands
            grown = grown or any(command.sources for command in commands)
        if not grown:
            return frozenset(missing)


def _unknown(node: Node, bases: Mapping[BaseKey, Base]) -> Iterator[BaseKey]:
    for wanted in (node, *(source for source in node.sources if source.is_image)):
        if wanted.key is not None and wanted.key not in bases:
            yield wanted.key


def _triggers(node: Node, bases: Mapping[BaseKey, Base]) -> tuple[str, ...]:
    if node.parent is not None:
        commands = (command.instruction for command in node.parent.commands)
        return tuple(instruction.trigger for instruction in commands if isinstance(instruction, Onbuild))
    return bases[node.key].config.config.on_build if node.key is not None else ()


def _trigger(graph: Graph, node: Node, text: str, parse: ParseTrigger) -> Command:
    # An image's trigger stands nowhere in the file: its place is the FROM that brought it.
    instruction = parse(text, node.where)
    try:
        return connect(graph, instruction, trigger=True)
    except DockerfileError as error:
        raise mistake(f"ONBUILD trigger {text!r}: {error.message}", node.where, error.code, error.hint) from None
