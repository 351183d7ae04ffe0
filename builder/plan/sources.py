"""What instructions take from: stages, images and named contexts.

source   BuildKit, convert.go: toCommand; convert_runmount.go: detectRunMount; validations.go:
         validateCircularDependency
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.dockerfile.instructions import Copy, Instruction, Run, Word
from builder.dockerfile.source import Span
from builder.dockerfile.words import expand
from builder.plan.findings import mistake
from builder.plan.graph import Command, Graph, Node, base_key
from builder.plan.mounts import source_name

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def connect(graph: Graph, instruction: Instruction, trigger: bool = False) -> Command:
    """The instruction with the nodes it takes from."""
    sources: tuple[Node | None, ...] = ()
    if isinstance(instruction, Copy) and instruction.source_stage is not None and instruction.source_stage.text:
        sources = (_copied_from(graph, instruction.source_stage),)
    elif isinstance(instruction, Run):
        named = [(source_name(flag), flag.span) for flag in instruction.mounts]
        sources = tuple(_source(graph, name, where) if name else None for name, where in named)
    return Command(instruction=instruction, sources=sources, trigger=trigger)


def _copied_from(graph: Graph, word: Word) -> Node:
    if expand(word.text, {}, escape=graph.scope.escape, where=word.span) != word.text:
        raise mistake(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope"
            " as a workaround",
            word.span,
            "variable-in-from",
        )
    if not _NUMBER.fullmatch(word.text):
        return _source(graph, word.text, word.span)
    index = int(word.text)
    if not 0 <= index < len(graph.stages):
        raise mistake(
            f"invalid stage index {index}", word.span, "unknown-stage", f"stages are 0 to {len(graph.stages) - 1}"
        )
    return graph.stages[index]


def _source(graph: Graph, name: str, where: Span) -> Node:
    """The stage of that name, else the image or context."""
    stage = graph.named(name)
    if stage is not None:
        return stage
    if name == "scratch":
        return Node(name="", shown="scratch", platform=graph.options.platform, where=where, is_image=True)
    key = base_key(graph, name, where, graph.options.platform)
    known = graph.images.get(key)
    if known is None:
        known = Node(name="", shown=name, platform=key.platform, where=where, key=key, is_image=True)
        graph.images[key] = known
    return known


def forbid_cycles(stages: list[Node]) -> None:
    """Depth first, without recursion: a Dockerfile may have any number of stages."""
    done: set[int] = set()
    for start in stages:
        path: dict[int, Iterator[tuple[Node, Span]]] = {}
        waiting = [start]
        while waiting:
            node = waiting[-1]
            if id(node) not in path:
                if id(node) in done:
                    waiting.pop()
                    continue
                path[id(node)] = _taken(node)
            following = next(path[id(node)], None)
            if following is None:
                del path[id(node)]
                done.add(id(node))
                waiting.pop()
            elif id(following[0]) in path:
                raise mistake(
                    f"circular dependency detected on stage: {start.shown}",
                    following[1],
                    "circular-dependency",
                    "a stage can take only from stages before it",
                )
            elif id(following[0]) not in done:
                waiting.append(following[0])


def _taken(node: Node) -> Iterator[tuple[Node, Span]]:
    for command in node.commands:
        for source in command.sources:
            if source is not None:
                yield source, _from_span(command.instruction)


def _from_span(instruction: Instruction) -> Span:
    if isinstance(instruction, Copy) and instruction.source_stage is not None:
        return instruction.source_stage.span
    return instruction.span
