"""Stages and the images they take from, as nodes that know each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from builder.dockerfile.instructions import From, Instruction
from builder.dockerfile.source import Span
from builder.errors import DockerfileError, ImageError
from builder.image.names import Platform, Reference
from builder.plan.contexts import context_named
from builder.plan.findings import mistake
from builder.plan.nearest import nearest
from builder.plan.scope import Scope
from builder.plan.steps import BaseKey, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An instruction of a stage, and the nodes it takes from: one for COPY --from, one (or None) per mount of RUN."""

    instruction: Instruction
    sources: tuple[Node | None, ...] = ()
    trigger: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """A stage, or an image that an instruction takes from.

    name       of the stage as written after AS, in lower case; else its index; "" for an image
    shown      as messages name it
    begins     what it begins with: a stage, an image or context (``key``), or nothing at all
    is_image   it is the image alone: one that is no stage, or a stage that a named context replaced
    on_replaced   it is a stage that a named context replaced, or begins with one
    """

    name: str
    shown: str
    platform: Platform
    where: Span
    origin: From | None = None
    parent: Node | None = None
    key: BaseKey | None = None
    is_image: bool = False
    on_replaced: bool = False
    commands: list[Command] = field(default_factory=list)
    triggers_added: bool = False

    @property
    def sources(self) -> Iterator[Node]:
        """The nodes that instructions take from; the instructions of a replaced stage have no say."""
        if self.is_image:
            return iter(())
        return (node for command in self.commands for node in command.sources if node is not None)


@dataclass(slots=True, kw_only=True)
class Graph:
    """All stages of a Dockerfile, in the order of the file, and the images they take from."""

    options: Options
    scope: Scope
    stages: list[Node] = field(default_factory=list)
    by_name: dict[str, Node] = field(default_factory=dict)
    images: dict[BaseKey, Node] = field(default_factory=dict)

    def named(self, name: str) -> Node | None:
        """The last stage of that name, in any case."""
        return self.by_name.get(name.lower())

    def reachable(self, target: Node) -> list[Node]:
        """The stages that *target* needs, itself with them, in the order of the file, without replaced ones."""
        if self.options.all_stages:
            return [node for node in self.stages if node is target or not node.is_image]
        found: set[int] = set()
        waiting = [target]
        while waiting:
            node = waiting.pop()
            if id(node) not in found:
                found.add(id(node))
                waiting.extend(node.sources)
                if node.parent:
                    waiting.append(node.parent)
        return [node for node in self.stages if id(node) in found and (node is target or not node.is_image)]


def base_key(graph: Graph, name: str, where: Span, platform: Platform) -> BaseKey:
    """What *name*, which is no stage, asks of the world: DockerfileError if it cannot be an image's name."""
    try:
        return _key(graph.options, name, where, platform)
    except DockerfileError as error:
        error.hint = stage_hint(graph, name) or error.hint
        raise


def _key(options: Options, name: str, where: Span, platform: Platform) -> BaseKey:
    context = context_named(options, name, platform)
    if context is None:
        try:
            Reference.parse(name)
        except ImageError as e:
            raise mistake(
                f'failed to parse stage name "{name}": {e.message}', where, "invalid-reference", e.hint
            ) from None
    return BaseKey(context or name, platform)


def stage_hint(graph: Graph, name: str) -> str | None:
    """What stage *name* may have meant, and which there are."""
    if name.lower() in graph.by_name:
        return f"the stage's name is {name.lower()}" if name != name.lower() else None
    meant = nearest(name.lower(), graph.by_name)
    if meant:
        return f"did you mean {meant}?"
    return "stages are " + ", ".join(graph.by_name) if graph.by_name else None
