"""The stages of a file: what each begins with, and which one is wanted.

Nothing is expanded here but FROM: what a build needs must be known before an instruction is looked at.

source   BuildKit, convert.go: buildDispatchStates, resolveTarget, buildStageDependencyGraph
"""

from __future__ import annotations

from builder.dockerfile.instructions import Dockerfile, From, StageText
from builder.dockerfile.source import Span
from builder.dockerfile.words import examine, expand
from builder.errors import DockerfileError, ImageError
from builder.image.names import Platform
from builder.plan.contexts import context_named
from builder.plan.findings import Findings, mistake
from builder.plan.graph import Graph, Node, base_key
from builder.plan.lint import check_from
from builder.plan.nearest import nearest
from builder.plan.scope import Scope
from builder.plan.sources import connect, forbid_cycles
from builder.plan.steps import BaseKey, Options


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
    forbid_cycles(graph.stages)
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
    check_from(findings, origin, name, scope)
    platform = _platform(graph, origin)
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
    context = context_named(graph.options, origin.stage_name, node.platform) if origin.stage_name else None
    if context is not None:
        node.key, node.is_image, node.on_replaced = BaseKey(context, node.platform), True, True
    else:
        _set_beginning(graph, node, name.text, origin.image.span)
    graph.stages.append(node)
    if origin.stage_name:
        graph.by_name[origin.stage_name] = node


def _set_beginning(graph: Graph, node: Node, name: str, where: Span) -> None:
    # Names of stages are found in any case by COPY and RUN, but FROM looks for the lower-case name alone.
    parent = graph.by_name.get(name)
    if parent is None and name == "scratch":
        # The empty image is the target's, whatever --platform says.
        node.platform = graph.options.platform
    elif parent is None:
        node.key = base_key(graph, name, where, node.platform)
    if parent is not None:
        node.platform = parent.platform
        if parent.is_image:
            # It begins with what replaced the stage. BuildKit forgets that image's triggers on the way.
            node.key, node.triggers_added, node.on_replaced = parent.key, True, True
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
