"""A stage while its instructions are folded in, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from builder.dockerfile.instructions import Add, Copy, Instruction, Run, Word
from builder.dockerfile.source import Span
from builder.dockerfile.words import Expansion, examine
from builder.image.configuration import HistoryEntry, ImageConfig, RunConfig
from builder.image.names import Platform
from builder.plan.findings import Findings
from builder.plan.history import entry
from builder.plan.nearest import nearest
from builder.plan.paths import below
from builder.plan.scope import DEFAULT_PATH, NOT_IN_ENVIRONMENT, Scope, split_env, with_value
from builder.plan.steps import AnyStep, Input, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """What a stage has come to.

    image        the configuration so far
    env          what commands and expansions see: the image's environment and the ARGs
    args         the ARGs declared so far, those of the parent stages first, with their values if they have any
    steps, history   of this stage alone
    workdir_set  a WORKDIR was there, in this stage or in one below it
    last         where CMD, ENTRYPOINT and HEALTHCHECK stood last, in this stage
    """

    image: ImageConfig
    env: Mapping[str, str]
    args: tuple[tuple[str, str | None], ...] = ()
    steps: tuple[AnyStep, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    workdir_set: bool = False
    last: Mapping[str, Span] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """How the image is run, so far."""
        return self.image.config

    @property
    def cwd(self) -> str:
        """The working folder, absolute."""
        return self.config.working_dir or "/"

    def configured(self, **changes: Any) -> Self:
        """The same stage, its image run another way."""
        return replace(self, image=self.image.with_config(**changes))

    def noted(self, created_by: str, created: str | None) -> Self:
        """With one more history entry, of an instruction that changes no file."""
        return replace(self, history=(*self.history, entry(created_by, created=created)))

    def stepped(self, created_by: str, created: str | None, step: AnyStep) -> Self:
        """With one more step and its history entry."""
        history = (*self.history, entry(created_by, created=created, layer=True))
        return replace(self, history=history, steps=(*self.steps, step))


def first_state(image: ImageConfig, parent: StageState | None = None) -> StageState:
    """What a stage begins with, on an image, or on another stage.

    PATH is always set, and the image's variables come before those that the parent's ARGs left behind.

    source   BuildKit, convert.go: dispatchStages, dispatchState.init
    """
    env: Mapping[str, str] = parent.env if parent else {}
    entries = image.config.env
    if image.platform.os != "windows" and not any(split_env(item)[0] == "PATH" for item in entries):
        entries = (*entries, f"PATH={DEFAULT_PATH}")
    for item in entries:
        env = with_value(env, *split_env(item))
    return StageState(
        image=image.with_config(env=entries),
        env=env,
        args=parent.args if parent else (),
        workdir_set=parent.workdir_set if parent else False,
    )


def image_of_base(image: ImageConfig) -> ImageConfig:
    """A base's configuration as a stage takes it over: without its triggers, and without fields that have no meaning.

    source   BuildKit reads it into the OCI and Docker image specifications' structures, and writes those
    """
    config = image.config
    folder = config.working_dir and below("/", config.working_dir)
    return replace(
        image,
        config=replace(
            config,
            on_build=(),
            extra={},
            working_dir=folder,
            volumes=tuple(sorted(set(config.volumes))),
            exposed_ports=tuple(sorted(set(config.exposed_ports))),
        ),
        extra={key: value for key, value in image.extra.items() if key in ("os.version", "os.features")},
        diff_ids=(),
        created=None,
    )


def empty_image(platform: Platform) -> ImageConfig:
    """The configuration that ``FROM scratch`` begins with.

    source   BuildKit, image.go: emptyImage
    """
    return ImageConfig(platform=platform, config=RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One instruction and all that is to be known to fold it in.

    inputs   what the instruction takes from: COPY's source, or one for each mount of RUN; None: the main context
    number   of the step, if it makes one
    created  for history entries: RFC 3339, or None
    """

    instruction: Instruction
    options: Options
    scope: Scope
    findings: Findings
    platform: Platform
    inputs: tuple[Input | None, ...] = ()
    number: int = 0
    created: str | None = None

    def expand(self, state: StageState, word: Word) -> str:
        """*word* with the variables that the stage has; those that it hasn't are reported."""
        expansion = self.examine(state, word)
        self.report_unset(state, expansion, word.span)
        return expansion.text

    def examine(self, state: StageState, word: Word) -> Expansion:
        """All about the expansion of *word*; nothing is reported."""
        return examine(word.text, state.env, escape=self.scope.escape, where=word.span)

    def expand_document(self, state: StageState, content: str, where: Span) -> str:
        """The content of a here-document: variables are replaced, quotes are left alone."""
        # BuildKit always takes the backslash here, whatever the file's escape character.
        expansion = examine(content, state.env, skip_quotes=True, where=where)
        self.report_unset(state, expansion, where)
        return expansion.text

    def report_unset(self, state: StageState, expansion: Expansion, where: Span) -> None:
        """Warn of variables that nobody declared."""
        if not expansion.unset:
            return
        # BuildKit tells the instruction's first line; and its here-documents, if it has any.
        whole = with_heredocs(self.instruction)
        if where.line != whole.line or whole is not self.instruction.span:
            where = whole
        declared = {name for name, _ in state.args} | NOT_IN_ENVIRONMENT
        for name in expansion.unset:
            if name not in declared:
                known = state.env if self.findings.may_guess() else ()
                self.warn("UndefinedVar", undefined(f"Usage of undefined variable '${name}'", name, known), where)

    def warn(self, rule: str, message: str, where: Span | None = None) -> None:
        """Note what a lint rule found about the instruction, with its here-documents unless *where* says less."""
        self.findings.warn(rule, message, where or with_heredocs(self.instruction), self.instruction.comment)


def with_heredocs(instruction: Instruction) -> Span:
    """The instruction to the end of its last here-document."""
    span = instruction.span
    documents = instruction.heredocs if isinstance(instruction, Add | Copy | Run) else ()
    # A trigger stands where its FROM does, and its documents elsewhere.
    lines = sum(document.raw.count("\n") + 1 for document in documents if document.span.file is span.file)
    return replace(span, end_line=span.end_line + lines, end_column=0) if lines else span


def undefined(message: str, name: str, known: Iterable[str]) -> str:
    """*message* about a variable, with the one that may be meant."""
    meant = nearest(name, known)
    return f"{message} (did you mean ${meant}?)" if meant else message
