"""The doing tower's handles in one value: the engine receives them and never makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.request import Secret, SshAgent
from builder.events import Emit
from builder.plan.steps import AnyStep, ContextInput, GitTree, Plan, RemoteFile, RunStep

if TYPE_CHECKING:
    from builder.engine.bases import Bases
    from builder.engine.sources.context import Context
    from builder.engine.sources.fetched import Fetched
    from builder.sandbox.emulation import Emulation
    from builder.sandbox.groups.delegated import Groups
    from builder.sandbox.groups.limits import Limits
    from builder.sandbox.runner import Runner
    from builder.snapshot.contract import Snapshotter
    from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the caller decided that bears on performing, not on the plan.

    no_cache         a stage's name to whether its steps must be performed anew
    network          of a RUN that asks for the default: ``host`` or ``none``
    jobs             how many stages at once
    epoch            seconds, where neither the build arguments nor the Dockerfile say what SOURCE_DATE_EPOCH is
    newest           the time of the context's newest file, where that serves for SOURCE_DATE_EPOCH; else None
    rewrite          no time in a layer is later than SOURCE_DATE_EPOCH
    """

    no_cache: Callable[[str], bool] = lambda _: False
    network: str = "host"
    hosts: tuple[str, ...] = ()
    shm_size: int = 64 << 20
    ulimits: tuple[tuple[str, int, int], ...] = ()
    limits: Limits | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    ssh: Mapping[str, SshAgent] = field(default_factory=dict)
    allow: frozenset[str] = frozenset()
    jobs: int = 2
    epoch: int | None = None
    newest: int | None = None
    rewrite: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def around(self, step: AnyStep) -> Mapping[str, object]:
        """What of this the files that *step* makes may depend on, for its cache key.

        Limits are not among it: they decide whether a command gets through, and how fast, as the machine does that it
        runs on, and a build that was refused memory has no result. BuildKit hashes the one that it has, the path of
        ``--cgroup-parent``, with the rest of the operation; where a command is counted changes none of its files.

        source   BuildKit, solver/llbsolver/ops/exec.go, CacheMap: of ``--add-host`` the names count, not the addresses
        """
        if isinstance(step, RunStep):
            return {
                "network": self.network if step.network == "default" else step.network,
                "hosts": tuple(line.partition(":")[0] for line in self.hosts),
                "shm_size": self.shm_size,
                "ulimits": self.ulimits,
            }
        return {}

    def clamp(self, plan: Plan) -> int | None:
        """The time that none in the layers and files of *plan* is later than, seconds; None: they are as they are."""
        return plan.source_date_epoch if self.rewrite else None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What exists on both sides of the gate.

    context   opens a build context by its name ("" is the main one); the same object each time
    fetched   what a URL or a git repository brings, once in a build
    moment    the time of a build context's source, seconds since the epoch; None if it has none
    """

    store: Store
    bases: Bases
    context: Callable[[str], Context]
    fetched: Callable[[RemoteFile | GitTree], Fetched]
    moment: Callable[[ContextInput], int | None]
    settings: Settings
    emit: Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What exists only behind the gate.

    key      names the identities' map: what was written under another may not be touched
    mounts   the folder of the cache mounts, owned by this map's root
    jailed   nothing can be mounted for a command (``sandbox.jail``)
    groups   where commands' control groups are made; None where nothing is limited
    emulation  of other platforms' commands; None where the plans have none
    """

    snapshotter: Snapshotter
    runner: Runner
    key: str
    mounts: Path
    emulation: Emulation | None = None
    jailed: bool = False
    groups: Groups | None = None
