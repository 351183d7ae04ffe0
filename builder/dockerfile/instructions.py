"""One frozen type per instruction, as written: nothing is expanded here, every word knows its place.

``Word.text`` is raw: quotes, escapes and ``$variables`` are still in it, except where a field says otherwise; ``plan``
expands it with ``dockerfile.words``. Words of a JSON (exec form) array are already decoded, and say so by ``literal``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from builder.dockerfile.source import Span


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of an instruction and where it stands.

    ``literal``: decoded from the JSON array of a command or of SHELL, never to be expanded. The words of a JSON array
    of COPY, ADD or VOLUME are not literal: BuildKit reads quotes and variables in them as in any other.
    """

    text: str
    span: Span
    literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """A here-document. ``content`` is as written, less leading tabs if ``chomp``; expanded unless ``quoted``.

    Bytes of a COPY's or ADD's content that are not UTF-8 are lone surrogates (``surrogateescape``). ``raw`` is the
    content with its tabs: BuildKit puts it back behind a RUN's command line that is more than one here-document.
    """

    name: str
    content: str
    chomp: bool
    quoted: bool
    span: Span
    fd: int = 0
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What every instruction has.

    name      upper case: ``COPY``
    original  the logical line as BuildKit's ``Node.Original`` has it: continuations joined, flags included, heredoc
              bodies left out, spaces at the ends trimmed
    span      the keyword to the end of the logical line
    comment   the comment lines directly above, joined (descriptions for ``--call outline|targets``)
    """

    name: str
    original: str
    span: Span
    comment: str = ""

    @property
    def keyword(self) -> str:
        """The name as written, for what is said about the text: ``copy``."""
        return self.original[: len(self.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """``FROM [--platform=P] IMAGE [AS NAME]``. ``stage_name`` is lower-cased; ``stage_word`` is as written."""

    image: Word
    platform: Word | None = None
    stage_name: str = ""
    stage_word: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """``key=value``; ``value`` is None for ``ARG NAME`` alone."""

    key: Word
    value: Word | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """``ARG NAME[=DEFAULT] ...``."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """``ENV KEY=VALUE ...`` or, ``legacy``, ``ENV KEY VALUE``."""

    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """``LABEL KEY=VALUE ...`` or, ``legacy``, ``LABEL KEY VALUE``."""

    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine(Instruction):
    """What RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD share.

    words       exec form: the decoded array; shell form: one word, the raw command line (never expanded by us)
    shell_form  whether a shell is to be put before it
    """

    words: tuple[Word, ...]
    shell_form: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFlag:
    """``--mount=type=…,key=value``, split at commas as CSV and with keys lower-cased, values raw; in order.

    A key without ``=`` (``ro``) has the value None.
    """

    options: tuple[tuple[str, str | None], ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(CommandLine):
    """``RUN [--mount=…] [--network=…] [--security=…] [--device=…] COMMAND``, with its heredocs."""

    mounts: tuple[MountFlag, ...] = ()
    network: Word | None = None
    security: Word | None = None
    devices: tuple[Word, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(CommandLine):
    """``CMD``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(CommandLine):
    """``ENTRYPOINT``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """What COPY and ADD share.

    sources   raw words, heredoc markers (``<<EOF``) left out
    heredocs  inline files, in order
    target    the last word
    excludes  ``--exclude`` patterns; ``link``, ``parents`` … None where the flag isn't given
    """

    sources: tuple[Word, ...]
    target: Word
    heredocs: tuple[Heredoc, ...] = ()
    chown: Word | None = None
    chmod: Word | None = None
    link: bool | None = None
    parents: bool | None = None
    excludes: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    """``COPY``. ``source_stage`` is the value of ``--from``."""

    source_stage: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """``ADD``."""

    checksum: Word | None = None
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """``WORKDIR PATH``."""

    path: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """``USER NAME[:GROUP]``."""

    user: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """``EXPOSE PORT[-PORT][/PROTO] ...``."""

    ports: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """``VOLUME PATH ...`` in either form."""

    paths: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """``STOPSIGNAL SIGNAL``."""

    signal: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """``SHELL ["…"]``."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """``MAINTAINER`` (deprecated)."""

    author: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """``HEALTHCHECK NONE`` (``command`` None), or ``HEALTHCHECK [options] CMD …``. Durations in ns; 0: not set."""

    command: Cmd | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """``ONBUILD INSTRUCTION``. ``trigger`` is the text as it is stored in the image; ``parsed`` what it says."""

    trigger: str
    parsed: Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The parser directives at the top of the file: ``syntax``, ``escape`` (the character), ``check`` (raw)."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""
    spans: tuple[tuple[str, Span], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A whole file, parsed.

    globals       ARG instructions before the first FROM
    stages        each FROM with the instructions after it
    """

    directives: Directives
    globals: tuple[Arg, ...]
    stages: tuple[StageText, ...]
    shadowed_lines: tuple[Span, ...] = field(default=())
    """Empty continuation lines, for the rule NoEmptyContinuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageText:
    """One FROM and what follows it."""

    origin: From
    instructions: tuple[Instruction, ...]
