"""The compiler: a parsed Dockerfile, what the caller wants, and what is known of base images, to a Plan.

The caller asks ``missing_bases`` until it answers with nothing (a base's ONBUILD triggers may take from further
images), then ``compile_plan``.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert.go: toDispatchState, dispatchStages, finalizeResultImage
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from builder.dockerfile.instructions import Dockerfile, Instruction
from builder.dockerfile.source import Span
from builder.errors import DockerfileError, InternalError
from builder.image.configuration import HistoryEntry, ImageConfig
from builder.plan.findings import Findings, mistake
from builder.plan.fold import fold
from builder.plan.graph import Command, Graph, Node, stage_hint
from builder.plan.heed import heeded, violation
from builder.plan.lint import check_base_platform, check_default_args
from builder.plan.nearest import nearest
from builder.plan.scope import Scope, global_scope, same_system
from builder.plan.stages import build_graph, target_of
from builder.plan.state import Job, StageState, empty_image, first_state, image_of_base
from builder.plan.steps import (
    Base,
    BaseKey,
    ContextInput,
    CopyStep,
    ImageInput,
    Input,
    Options,
    Plan,
    Root,
    RunStep,
    ScratchInput,
    Stage,
    StageInput,
)
from builder.plan.triggers import add_triggers


def missing_bases(dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base]) -> frozenset[BaseKey]:
    """The images that must be known before *dockerfile* can be compiled, beside those in *bases*.

    raises   DockerfileError, all mistakes that can be seen without the images
    """
    findings = Findings()
    graph = _connected(dockerfile, options, findings)
    return add_triggers(graph, bases, target_of(graph), _parse_trigger)


@dataclass(frozen=True, slots=True)
class Mention:
    """Where a base is named, and the stage that may have been meant, for an error about it."""

    where: Span
    hint: str | None


def mention(dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base], key: BaseKey) -> Mention | None:
    """Where *key*, which ``missing_bases`` asked for, is named first."""
    graph = _connected(dockerfile, options, Findings())
    add_triggers(graph, bases, target_of(graph), _parse_trigger)
    for node in (*graph.stages, *graph.images.values()):
        if node.key == key:
            where = node.origin.image.span if node.origin else node.where
            meant = nearest(key.name.lower(), graph.by_name) if key.name not in options.contexts else ""
            return Mention(where, f"did you mean {meant}?" if meant else None)
    return None


def compile_plan(dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base]) -> Plan:
    """What is to be built.

    raises   DockerfileError, with all further mistakes in ``also``; InternalError if a base is missing
    """
    findings = Findings()
    compiler = compiled(dockerfile, options, bases, findings)
    warnings = heeded(dockerfile, options, findings.warnings)
    if error := violation(dockerfile, options, warnings):
        raise error
    stages = compiler.stages
    stages[-1] = _finished(stages[-1], options)
    return Plan(
        stages=tuple(stages), platform=options.platform, warnings=warnings, source_date_epoch=compiler.scope.epoch
    )


def compiled(dockerfile: Dockerfile, options: Options, bases: Mapping[BaseKey, Base], findings: Findings) -> Compiler:
    """All stages that are wanted, compiled; what is found on the way is in *findings* even if it raises.

    raises   as ``compile_plan``
    """
    graph = _connected(dockerfile, options, findings)
    target = target_of(graph)
    if missing := add_triggers(graph, bases, target, _parse_trigger):
        names = ", ".join(sorted(key.name for key in missing))
        raise InternalError(f"compiled before all bases were known: {names}", code="missing-base")
    compiler = Compiler(graph=graph, bases=bases, findings=findings)
    for node in graph.reachable(target):
        compiler.stage(node)
    findings.settle()
    return compiler


def _connected(dockerfile: Dockerfile, options: Options, findings: Findings) -> Graph:
    if not dockerfile.stages:
        raise DockerfileError("dockerfile contains no stages to build", code="no-stage", hint="begin with FROM image")
    scope = global_scope(dockerfile, options)
    check_default_args(dockerfile, options, findings, scope.values["TARGETSTAGE"])
    return build_graph(dockerfile, options, scope, findings)


def _parse_trigger(text: str, where: Span) -> Instruction:
    from builder.dockerfile.parse import parse_trigger  # only images with ONBUILD need the parser again

    return parse_trigger(text, where=where)


def _finished(stage: Stage, options: Options) -> Stage:
    """The target, with ``--label`` and the platform that was asked for."""
    config = stage.config.with_config(labels={**stage.config.config.labels, **options.labels})
    if options.explicit_platform:
        same = same_system(config.platform, options.platform)
        keeps_variant = same and not options.platform.variant
        config = replace(
            config,
            platform=replace(options.platform, variant=config.platform.variant) if keeps_variant else options.platform,
            extra={key: value for key, value in config.extra.items() if same or key != "os.version"},
        )
    return replace(stage, config=config)


def _no_image(node: Node) -> ImageConfig:
    """What a stage begins with whose base is a context, but no image."""
    image = empty_image(node.platform)
    # source: BuildKit, convert.go, resolveBaseImage: a stage that such a context replaced has no configuration at all
    return image.with_config(working_dir="") if node.on_replaced else image


def timestamp(seconds: int | None) -> str | None:
    """*seconds* since 1970 as RFC 3339; None stays None."""
    if seconds is None:
        return None
    from datetime import datetime, timedelta  # only where SOURCE_DATE_EPOCH is given

    try:
        return (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat() + "Z"
    except OverflowError:
        raise DockerfileError(
            f"invalid SOURCE_DATE_EPOCH: {seconds} is beyond the year 9999", code="invalid-epoch"
        ) from None


@dataclass(slots=True, kw_only=True)
class Compiler:
    """The stages compiled so far, and their places in the plan: ``states`` and ``places`` by their nodes' ``id``."""

    graph: Graph
    bases: Mapping[BaseKey, Base]
    findings: Findings
    stages: list[Stage] = field(default_factory=list)
    states: dict[int, StageState] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    steps: int = 0

    @property
    def scope(self) -> Scope:
        """What holds for the whole file."""
        return self.graph.scope

    def stage(self, node: Node) -> None:
        """Compile one stage, all before it being compiled."""
        root, state, base_history = self.beginning(node)
        for command in () if node.is_image else node.commands:
            with self.findings.collecting():
                state = self.fold(node, state, command)
        self.states[id(node)] = state
        self.places[id(node)] = len(self.stages)
        self.steps += len(state.steps)
        created = timestamp(self.scope.epoch)
        self.stages.append(
            Stage(
                name=node.name,
                root=root,
                platform=node.platform,
                config=replace(state.image, history=(*base_history, *state.history), created=created, diff_ids=()),
                steps=state.steps,
                history=state.history,
            )
        )

    def beginning(self, node: Node) -> tuple[Root, StageState, tuple[HistoryEntry, ...]]:
        """What the stage begins with: its root, its state, and the history below it."""
        if node.parent is not None:
            parent = self.states[id(node.parent)]
            place = self.places[id(node.parent)]
            image = parent.image.with_config(on_build=())
            return StageInput(index=place), first_state(image, parent), self.stages[place].config.history
        if node.key is None:
            return ScratchInput(), first_state(empty_image(node.platform)), ()
        base = self.bases[node.key]
        if base.is_folder:
            return ScratchInput(), self.folder_state(node, node.key), ()
        if base.is_empty:
            return ScratchInput(), first_state(_no_image(node)), ()
        if node.origin is not None and node.key.name not in self.graph.options.contexts:
            check_base_platform(self.findings, node.origin, node.key.name, node.platform, base.config.platform)
        config = image_of_base(base.config)
        # A stage that a named context replaced is the context's image as it is.
        state = StageState(image=config, env={}) if node.is_image else first_state(config)
        return ImageInput(base=node.key), state, config.history

    def folder_state(self, node: Node, key: BaseKey) -> StageState:
        """A stage that begins with a folder: an empty image, and all of the folder in a layer of its own."""
        state = first_state(_no_image(node))
        said = f"[context {key.name}] load from client"
        step = CopyStep(
            title=said,
            where=node.where,
            number=self.steps + 1,
            input=ContextInput(name=key.name),
            sources=("/",),
            target="/",
            target_is_folder=True,
        )
        return state.stepped(said, timestamp(self.scope.epoch), step)

    def fold(self, node: Node, state: StageState, command: Command) -> StageState:
        """The stage after one more instruction."""
        job = Job(
            instruction=command.instruction,
            options=self.graph.options,
            scope=self.scope,
            findings=self.findings,
            platform=node.platform,
            inputs=tuple(self.input(node, command, source) for source in command.sources),
            number=self.steps + len(state.steps) + 1,
            created=timestamp(self.scope.epoch),
        )
        if not command.trigger:
            return self.counted(state, fold(state, job), job)
        try:
            after = self.counted(state, fold(state, job), job)
        except DockerfileError as error:
            raise mistake(f"ONBUILD: {error.message}", node.where, error.code, error.hint) from None
        if len(after.steps) == len(state.steps):
            return after
        *before, step = after.steps
        return replace(after, steps=(*before, replace(step, title=f"ONBUILD {step.title}")))

    def counted(self, before: StageState, after: StageState, job: Job) -> StageState:
        """*after*, unless the plan has grown beyond all measure."""
        size = len(after.history[-1].created_by) if len(after.history) > len(before.history) else 0
        if len(after.steps) > len(before.steps) and isinstance(step := after.steps[-1], RunStep):
            size += sum(map(len, step.env))
        self.findings.spend(size, job.instruction.span)
        return after

    def input(self, node: Node, command: Command, source: Node | None) -> Input | None:
        """Where an instruction takes from."""
        if source is None:
            return None
        if source.is_image:
            if source.key is None or self.bases[source.key].is_empty:
                return ScratchInput()
            if self.bases[source.key].is_folder:
                return ContextInput(name=source.key.name)
            return ImageInput(base=source.key)
        place = self.places.get(id(source))
        if place is None:
            name = command.instruction.name
            what = "mount from" if name == "RUN" else "copy from"
            raise mistake(
                f'cannot {what} stage "{source.shown}", it needs to be defined before current stage "{node.shown}"',
                command.instruction.span,
                "stage-defined-later",
                stage_hint(self.graph, source.shown),
            )
        return StageInput(index=place)
