"""The plan as values: stages, the steps that change a file system, and the configuration that results.

Instructions that change the configuration alone (ENV, LABEL, CMD …) make no step: the planner has already folded them
into the stage's ``config`` and ``history``. A stage's i-th step makes the i-th entry of its ``history`` that is not
``empty_layer``; ``config.history`` has those of its root before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.dockerfile.source import Span
from builder.image.configuration import HistoryEntry, ImageConfig
from builder.image.names import Platform

if TYPE_CHECKING:
    from builder.dockerfile.ignore import IgnoreFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextInput:
    """A build context: ``name`` is "" for the main one, else that of a ``--build-context`` folder."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInput:
    """The root of another stage, by its index in ``Plan.stages``."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The root of an image that is no stage: ``COPY --from=debian``. The key asks for it as ``missing_bases`` does."""

    base: BaseKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchInput:
    """The empty root (``FROM scratch``)."""


Root = StageInput | ImageInput | ScratchInput
Input = ContextInput | StageInput | ImageInput | ScratchInput


@dataclass(frozen=True, slots=True)
class BaseKey:
    """An image that the plan wants to know: its name as written (a reference, or the name of a ``--build-context``)."""

    name: str
    platform: Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the world answers about a ``BaseKey``: the image's configuration, or that the name is a folder.

    pinned   the name with its digest, for records and ``--metadata-file``
    is_empty   the name is a context that stands for ``scratch``
    """

    key: BaseKey
    config: ImageConfig
    pinned: str
    is_folder: bool = False
    is_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all steps have.

    title   the instruction as it is shown in progress: flags and expanded words, one line
    where   for errors
    number  counted from 1 over the whole plan, in the order of the file
    """

    title: str
    where: Span
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """``type=bind``: ``source`` is a path inside the input's root."""

    target: str
    input: Input
    source: str = "/"
    writable: bool = False
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMount:
    """``type=cache``: a folder that outlives the build. ``sharing`` is shared, private or locked."""

    target: str
    id: str
    sharing: str = "shared"
    input: Input | None = None
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    read_only: bool = False
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """``type=tmpfs``. ``size`` in bytes; 0: the kernel's default. ``source``: what it would show, but it is empty."""

    target: str
    size: int = 0
    source: str = "/"
    read_only: bool = False
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretMount:
    """``type=secret``: a file at ``target`` (None: none), and an environment variable ``env`` ("": none)."""

    id: str
    target: str | None
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMount:
    """``type=ssh``: the caller's agent socket at ``target`` (None: /run/buildkit/ssh_agent.N)."""

    id: str = "default"
    target: str | None = None
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    where: Span


RunMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep(Step):
    """A command in the stage's root.

    argv         whole, the shell included
    env          ``NAME=value`` in order: the image's environment, then visible ARGs that it does not shadow
    quiet_env    values given to the command but left out of the cache key: the predefined proxy arguments
    user         as written in USER; resolved in the root when performed
    cwd          absolute
    files        script heredocs: (path in the container under /dev/pipes, content), mounted for the command only
    network      default, none or host; security: sandbox or insecure
    hostname     "": the sandbox's own
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    quiet_env: tuple[str, ...] = ()
    user: str = ""
    cwd: str = "/"
    mounts: tuple[RunMount, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A heredoc source of COPY or ADD: its name and its content, already expanded."""

    name: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """``ADD https://…``. ``checksum`` is ``sha256:…`` or ""; ``name`` the file name the URL implies."""

    url: str
    name: str
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitTree:
    """``ADD git@…`` or ``https://….git#ref:subdir``, taken apart.

    commit           a full commit that the ref must resolve to, or ""
    fetch_by_commit  fetch ``commit`` itself, without asking what the ref points to
    commit_times     every file has the time of the commit (``mtime=commit``), not that of the checkout
    """

    url: str
    remote: str
    ref: str = ""
    subdir: str = ""
    commit: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    fetch_by_commit: bool = False
    commit_times: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStep(Step):
    """Files from an input into the stage's root.

    input     where ``sources`` are
    sources   patterns below the input's root, expanded, with "/" separators
    remote, git   further sources;  inline: heredocs, after all others
    order     which of ``sources``, ``remote`` and ``git`` comes next, as they were written; (): one group after another
    target    absolute path inside the root; ``target_is_folder`` if it was written with a final "/" or as "."
    owner     as written in --chown, or None (0:0 from a context or a URL; kept from a stage or an image)
    mode      as written in --chmod (octal or symbolic), or None
    unpack    True: local archives are unpacked (ADD); False: never; None: not applicable (COPY)
    unpack_remote   archives behind ``remote`` are unpacked as well (``ADD --unpack``)
    """

    input: Input
    sources: tuple[str, ...]
    inline: tuple[InlineFile, ...] = ()
    remote: tuple[RemoteFile, ...] = ()
    git: tuple[GitTree, ...] = ()
    target: str
    target_is_folder: bool
    owner: str | None = None
    mode: str | None = None
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    unpack: bool | None = None
    unpack_remote: bool = False
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkdirStep(Step):
    """A folder is made, with its parents, owned by ``user`` (as written in USER; "" is root).

    epoch   SOURCE_DATE_EPOCH: the time of new folders, seconds
    """

    path: str
    user: str = ""
    epoch: int | None = None


AnyStep = RunStep | CopyStep | WorkdirStep

Datable = ContextInput | RemoteFile | GitTree
"""What SOURCE_DATE_EPOCH can refer to: a build context ("" is the main one), or what a stage fetches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that will be built.

    name     as written after AS, or its index in the file
    root     what it begins with
    config   of the resulting image, complete but for diff ids; history includes the base's
    steps    in order
    history  what this stage adds to its root's history
    """

    name: str
    root: Root
    platform: Platform
    config: ImageConfig
    steps: tuple[AnyStep, ...]
    history: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warning:  # noqa: A001 - it is the field's word, and nothing here means the builtin
    """A lint finding: the rule's name, its message and place."""

    rule: str
    message: str
    where: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be built: needed stages only, each after those it takes from; the last one is the target.

    source_date_epoch   seconds, from the build argument of that name, from ``Options``, or None
    """

    stages: tuple[Stage, ...]
    platform: Platform
    warnings: tuple[Warning, ...] = ()
    source_date_epoch: int | None = None

    @property
    def target(self) -> Stage:
        """The stage whose image is wanted."""
        return self.stages[-1]

    @property
    def total(self) -> int:
        """How many steps there are."""
        return sum(len(stage.steps) for stage in self.stages)


_AMD64 = Platform("linux", "amd64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller decided, as far as it bears on the plan.

    build_args          ``--build-arg``, in order; values already resolved from the environment by the caller
    target              the stage's name, in any case (its index is none, as for BuildKit); "" is the last
    platform            of the wanted image;  build_platform: of this machine
    contexts            names of ``--build-context`` (lower case), which shadow images and stages of the same name; with
                        ``::`` and a platform behind it a name is for that platform alone
    labels              ``--label``
    network             of commands that say nothing themselves
    source_date_epoch   seconds, or None; what the build argument SOURCE_DATE_EPOCH, or else the file, says comes first
    moments             the times of the sources that SOURCE_DATE_EPOCH may refer to, as far as they are known and have
                        one: see ``scope.dated_by``
    explicit_platform   the caller asked for ``platform``: the image says so, whatever its base says
    all_stages          plan unneeded stages too, for ``--check`` without a target
    ignore              the main context's ``.dockerignore``, for the rule CopyIgnoredFile; None: there is none
    """

    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: Platform = _AMD64
    build_platform: Platform = _AMD64
    contexts: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    source_date_epoch: int | None = None
    moments: Mapping[Datable, int | None] = field(default_factory=dict)
    explicit_platform: bool = True
    all_stages: bool = False
    ignore: IgnoreFile | None = None
