"""Which stages there are, what each begins with, and what it takes from the others.

Nothing is expanded here but FROM: what a build needs must be known before an instruction is looked at.

source   BuildKit, convert.go: buildDispatchStates, resolveTarget, buildStageDependencyGraph, toCommand,
         initOnBuildTriggers; convert_runmount.go: detectRunMount; validations.go: validateCircularDependency
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from builder.dockerfile.instructions import Copy, Dockerfile, From, Instruction, Onbuild, Run, StageText, Word
from builder.dockerfile.source import Span
from builder.dockerfile.words import examine, expand
from builder.errors import DockerfileError, ImageError
from builder.image.names import Platform, Reference
from builder.plan.findings import Findings, mistake
from builder.plan.lint import check_from
from builder.plan.mounts import source_name
from builder.plan.nearest import nearest
from builder.plan.scope import Scope
from builder.plan.steps import Base, BaseKey, Options

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")

ParseTrigger = Callable[[str, Span], Instruction]


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
    """

    name: str
    shown: str
    platform: Platform
    where: Span
    origin: From | None = None
    parent: Node | None = None
    key: BaseKey | None = None
    is_image: bool = False
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


def build_graph(dockerfile: Dockerfile, options: Options, scope: Scope, findings: Findings) -> Graph:
    """The stages, connected; mistakes are collected in *findings*."""
    graph = Graph(options=options, scope=scope)
    for index, text in enumerate(dockerfile.stages):
        with findings.collecting():
            _add_stage(graph, index, text, findings)
    findings.settle()
    texts = zip(graph.stages, dockerfile.stages, strict=True)
    for node, text in texts:
        for instruction in text.instructions:
            with findings.collecting():
                node.commands.append(connect(graph, instruction))
    findings.settle()
    _forbid_cycles(graph.stages)
    return graph


def target_of(graph: Graph) -> Node:
    """The stage that is wanted; DockerfileError ``unknown-target`` if there is none of that name."""
    wanted = graph.options.target
    if not wanted:
        return graph.stages[-1]
    node = graph.named(wanted)
    if node is None:
        names = list(graph.by_name)
        meant = nearest(wanted, names)
        guess = f" (did you mean {meant}?)" if meant else ""
        hint = "stages are " + ", ".join(names) if names else "no stage has a name: FROM image AS name"
        raise DockerfileError(f'target stage "{wanted}" could not be found{guess}', code="unknown-target", hint=hint)
    return node


def _add_stage(graph: Graph, index: int, text: StageText, findings: Findings) -> None:
    origin, scope = text.origin, graph.scope
    name = examine(origin.image.text, scope.values, escape=scope.escape, where=origin.image.span)
    platform = _platform(graph, origin)
    check_from(findings, origin, name, scope)
    if not name.text:
        raise mistake(
            f"base name ({origin.image.text}) should not be blank",
            origin.image.span,
            "blank-base-name",
            "give the ARG a default before the first FROM, or pass it with --build-arg",
        )
    node = Node(
        name=origin.stage_name or str(index),
        shown=origin.stage_name or f"stage-{index}",
        platform=platform or graph.options.platform,
        where=origin.span,
        origin=origin,
    )
    context = _context(graph.options, origin.stage_name) if origin.stage_name else None
    if context is not None:
        node.key, node.is_image = BaseKey(context, node.platform), True
    else:
        _set_beginning(graph, node, name.text, origin.image.span)
    graph.stages.append(node)
    if origin.stage_name:
        graph.by_name[origin.stage_name] = node


def _set_beginning(graph: Graph, node: Node, name: str, where: Span) -> None:
    # Names of stages are found in any case by COPY and RUN, but FROM looks for the lower-case name alone.
    parent = graph.by_name.get(name)
    if parent is None and name != "scratch":
        node.key = _key_or_hint(graph, name, where, node.platform)
    if parent is not None:
        node.platform = parent.platform
        if parent.is_image:
            # It begins with what replaced the stage. BuildKit forgets that image's triggers on the way.
            node.key, node.triggers_added = parent.key, True
        else:
            node.parent = parent


def _platform(graph: Graph, origin: From) -> Platform | None:
    word = origin.platform
    if word is None or not word.text:
        return None
    text = expand(word.text, graph.scope.values, escape=graph.scope.escape, where=word.span)
    if not text:
        raise mistake(
            f"empty platform value from expression {word.text}",
            word.span,
            "empty-platform",
            "platform arguments are BUILDPLATFORM and TARGETPLATFORM",
        )
    try:
        return Platform.parse(text, graph.options.build_platform)
    except ImageError as e:
        raise mistake(f"failed to parse platform {word.text}: {e.message}", word.span, e.code, e.hint) from None


def _context(options: Options, name: str) -> str | None:
    """The named context that stands for *name*, if there is one.

    source   BuildKit, frontend/dockerui/config.go, NamedContext: the familiar name, without ``:latest``
    """
    if not options.contexts or name.lower() in ("scratch", "context"):
        return None
    if name in options.contexts:
        return name
    try:
        familiar = Reference.parse(name).familiar.removesuffix(":latest")
    except ImageError:
        return None
    return familiar if familiar in options.contexts else None


def _base_key(options: Options, name: str, where: Span, platform: Platform) -> BaseKey:
    context = _context(options, name)
    if context is None:
        try:
            Reference.parse(name)
        except ImageError as e:
            raise mistake(
                f'failed to parse stage name "{name}": {e.message}', where, "invalid-reference", e.hint
            ) from None
    return BaseKey(context or name, platform)


def _key_or_hint(graph: Graph, name: str, where: Span, platform: Platform) -> BaseKey:
    try:
        return _base_key(graph.options, name, where, platform)
    except DockerfileError as error:
        error.hint = stage_hint(graph, name) or error.hint
        raise


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
    key = _key_or_hint(graph, name, where, graph.options.platform)
    known = graph.images.get(key)
    if known is None:
        known = Node(name="", shown=name, platform=key.platform, where=where, key=key, is_image=True)
        graph.images[key] = known
    return known


def stage_hint(graph: Graph, name: str) -> str | None:
    """What stage *name* may have meant, and which there are."""
    if name.lower() in graph.by_name:
        return f"the stage's name is {name.lower()}" if name != name.lower() else None
    meant = nearest(name.lower(), graph.by_name)
    if meant:
        return f"did you mean {meant}?"
    return "stages are " + ", ".join(graph.by_name) if graph.by_name else None


def _forbid_cycles(stages: list[Node]) -> None:
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
