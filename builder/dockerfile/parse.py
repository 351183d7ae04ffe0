"""A Dockerfile's bytes → typed instructions, and every mistake of the file in one run.

bytes → physical lines → logical lines → statements → instructions → stages
        lines.py         heredocs.py     statement.py  grammar.py     here
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from builder.dockerfile.directives import read_directives
from builder.dockerfile.grammar import check_trigger, trigger_of, understand
from builder.dockerfile.heredocs import read_heredocs
from builder.dockerfile.instructions import Arg, Dockerfile, From, Instruction, Onbuild, StageText
from builder.dockerfile.lines import Lines, LogicalLine, next_line, read_lines
from builder.dockerfile.lint_options import parse_check
from builder.dockerfile.source import Span
from builder.dockerfile.statement import Statement, read_statement
from builder.errors import DockerfileError

MAX_MISTAKES = 50
"""After so many the rest of the file is not looked at."""

MAX_INSTRUCTIONS = 5_000
"""Of one file: forty times what an image can have of layers, and what is planned within a second."""

_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})


def parse(text: bytes, name: str) -> Dockerfile:
    """The whole file.

    name    how people know it; it stands before the line number in an error
    raises  DockerfileError, the first mistake with all others in ``also``
    """
    lines = read_lines(text, name)
    mistakes = _Mistakes()
    directives = read_directives(lines)
    if directives.check:
        with mistakes:
            parse_check(directives.check, where=dict(directives.spans)["check"])
    file = _File()
    while len(mistakes.found) < MAX_MISTAKES and file.count <= MAX_INSTRUCTIONS:
        instruction = None
        with mistakes:
            statement = _next_statement(lines, directives.escape, mistakes)
            if statement is None:
                break
            file.begin(statement)
            if file.count > MAX_INSTRUCTIONS:
                raise _too_many(statement)
            instruction = _understood(statement)
        if instruction:
            with mistakes:
                file.add(instruction)
    mistakes.settle()
    if not file.count:
        raise DockerfileError("file with no instructions", code="empty-dockerfile", where=lines.place(0))
    if not file.stages:
        raise DockerfileError(
            "dockerfile contains no stages to build", code="no-stage", where=lines.place(0), hint="FROM begins a stage"
        )
    return Dockerfile(
        directives=directives,
        globals=tuple(file.globals),
        stages=tuple(StageText(origin=origin, instructions=tuple(body)) for origin, body in file.stages),
        shadowed_lines=tuple(lines.empty),
    )


def parse_trigger(text: str, *, name: str = "ONBUILD", where: Span | None = None) -> Instruction:
    """The instruction that a base image's ONBUILD trigger is.

    text    an element of the image configuration's ``OnBuild``; its here-documents follow the line
    where   what errors and the instruction itself are to point at (the FROM), rather than at the trigger's own text
    raises  DockerfileError
    """
    try:
        lines = read_lines(text.encode("utf-8", "surrogatepass"), name)
        mistakes = _Mistakes()
        statement = _next_statement(lines, read_directives(lines).escape, mistakes)
        mistakes.settle()
        if statement is None or next_line(lines, "\\") is not None:
            raise DockerfileError(
                "onbuild trigger should be a single expression", code="bad-trigger", where=lines.place(0)
            )
        instruction = _understood(statement)
        if isinstance(instruction, From):
            raise DockerfileError(
                "FROM isn't allowed as an ONBUILD trigger", code="bad-trigger", where=instruction.span
            )
    except DockerfileError as error:
        if where is None:
            raise
        shown = text if len(text) <= 100 else text[:100] + "…"
        raise DockerfileError(
            error.message, code=error.code, where=where, hint=f"the base image's trigger is: ONBUILD {shown!r}"
        ) from None
    return replace(instruction, span=where) if where else instruction


@dataclass(slots=True)
class _Mistakes:
    """Takes up the DockerfileErrors of its ``with`` block."""

    found: list[DockerfileError] = field(default_factory=list)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if not isinstance(error, DockerfileError):
            return False
        self.add(error)
        return True

    def add(self, error: DockerfileError) -> None:
        others = [other for other in error.also if isinstance(other, DockerfileError)]
        error.also = ()
        self.found += [error, *others]

    def settle(self) -> None:
        if self.found:
            first, *others = self.found
            first.also = tuple(others)
            raise first


@dataclass(slots=True)
class _File:
    """Stages as they grow. ``count``: how many instructions there were, right or wrong."""

    globals: list[Arg] = field(default_factory=list)
    stages: list[tuple[From, list[Instruction]]] = field(default_factory=list)
    count: int = 0
    broken_stage: bool = False

    def begin(self, statement: Statement) -> None:
        self.count += 1
        if statement.name == "FROM":
            # Until it is understood: what follows a wrong FROM is not wrong for lack of one.
            self.broken_stage = True

    def add(self, instruction: Instruction) -> None:
        if isinstance(instruction, From):
            self.stages.append((instruction, []))
            self.broken_stage = False
        elif self.stages:
            self.stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            self.globals.append(instruction)
        elif not self.broken_stage:
            self.broken_stage = True  # said once
            raise DockerfileError(
                "no build stage in current context",
                code="no-stage",
                where=instruction.span,
                hint="only ARG may stand before the first FROM",
            )


def _too_many(statement: Statement) -> DockerfileError:
    return DockerfileError(
        f"the Dockerfile has more than {MAX_INSTRUCTIONS} instructions",
        code="dockerfile-too-large",
        where=statement.line.span(0, len(statement.name)),
        hint="one ENV, LABEL or RUN may hold many; or begin with an image that another Dockerfile makes",
    )


def _next_statement(lines: Lines, escape: str, mistakes: _Mistakes) -> Statement | None:
    """The next instruction with its here-documents, which are read even where the instruction itself is wrong."""
    line = next_line(lines, escape)
    if line is None:
        return None
    comment = "\n".join(lines.comments)
    lines.comments.clear()
    statement = read_statement(line, escape, comment)
    inner = _inner(statement) if statement.name == "ONBUILD" and statement.args else statement
    if inner.name in _WITH_HEREDOCS and inner.strings is None:
        try:
            heredocs = read_heredocs(line, lines, text_only=inner.name == "RUN" or inner is not statement)
        except DockerfileError as error:
            mistakes.add(error)
        else:
            statement = replace(statement, heredocs=heredocs)
    return statement


def _inner(outer: Statement) -> Statement:
    """What stands behind ONBUILD."""
    part: LogicalLine = outer.line.tail(outer.start, outer.end)
    return read_statement(part, outer.escape, "")


def _understood(statement: Statement) -> Instruction:
    if statement.name != "ONBUILD" or not statement.args:
        return understand(statement)
    inner = replace(_inner(statement), heredocs=statement.heredocs)
    check_trigger(statement, inner)
    return Onbuild(**statement.common(), trigger=trigger_of(statement), parsed=understand(inner))
