"""What a build begins with: the Dockerfile, the contexts, the bases, as the request names them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.numbers import truth
from builder.dockerfile.parse import parse
from builder.dockerfile.syntax import asked_for, explain, foreign
from builder.engine.arguments import heed_arguments
from builder.engine.bases import Bases, is_folder
from builder.engine.request import BuildRequest
from builder.engine.sources.arrival import Arrived, arrive, arrive_further
from builder.engine.sources.context import Context, open_context
from builder.engine.sources.fetch import Fetches
from builder.engine.sources.source import TooManyLinks, TreeRoot, resolve
from builder.engine.world import Settings, World
from builder.errors import DockerfileError
from builder.events import Note
from builder.image.names import Platform
from builder.plan.steps import ContextInput

if TYPE_CHECKING:
    from builder.events import Emit
    from builder.registry.client import Registry
    from builder.store.store import Store

DOCKERFILE_LIMIT = 16 << 20
"""Bytes of a Dockerfile at the most; a hundred times the longest that people write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is to be built: the Dockerfile, parsed, for these platforms, on this machine's.

    name, text   of the Dockerfile, as people know it and as it was read
    """

    dockerfile: Dockerfile
    name: str
    text: bytes
    platforms: tuple[Platform, ...]
    machine: Platform


@contextmanager
def open_world(
    request: BuildRequest, store: Store, emit: Emit, *, remember: bool = True
) -> Iterator[tuple[World, Source]]:
    """The world in which *request* is built, and what it builds.

    remember   keep the hashes of the contexts' files for the next build
    """
    heed_arguments(request.build_args, emit)
    settings = _settings(request)
    arrived = _arrive(request, store, settings)
    folder = arrived.folder
    path, text = (None, arrived.dockerfile) if arrived.dockerfile is not None else _dockerfile(request, folder)
    name = _shown(path, folder)
    dockerfile = _parsed(text, name, request, emit)
    machine = machine_platform()
    platforms = tuple(Platform.parse(name, machine) for name in request.platforms) or (machine,)
    contexts = Contexts(request, arrived, path, store, settings, remember=remember)
    if request.reproducible and settings.epoch is None:
        newest = contexts.open("").newest()
        settings = replace(settings, epoch=newest, newest=newest)
    bases = Bases(store, request.contexts, lambda: _registry(request), pull=request.pull, emit=emit)
    world = World(
        store=store,
        bases=bases,
        context=contexts.open,
        fetched=Fetches(store, settings).get,
        moment=contexts.moment,
        settings=settings,
        emit=emit,
    )
    yield world, Source(dockerfile=dockerfile, name=name, text=text, platforms=platforms, machine=machine)


def _parsed(text: bytes, name: str, request: BuildRequest, emit: Emit) -> Dockerfile:
    """The Dockerfile; where it asks for another frontend, that is said."""
    frontend, place = asked_for(text, name, request.build_args)
    if warning := foreign(frontend):
        emit(Note("warning", warning, place.describe() if place else ""))
    try:
        return parse(text, name)
    except DockerfileError as error:
        explain(error, frontend)
        raise


def main_context(request: BuildRequest, store: Store) -> Context:
    """The main build context of *request*; there need be no Dockerfile.

    raises   ContextError
    """
    settings = _settings(request)
    arrived = _arrive(request, store, settings)
    dockerfile = None if request.dockerfile_text is not None else _path(request, arrived.folder)
    return Contexts(request, arrived, dockerfile, store, settings).open("")


def _arrive(request: BuildRequest, store: Store, settings: Settings) -> Arrived:
    arguments = request.build_args
    return arrive(
        request.context,
        request.context_stream,
        store,
        settings,
        keep_git_dir=truth(arguments.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")) is True,
        # Where times matter a checkout's must not be those of the clock. source: BuildKit, dockerui/context.go
        commit_times=bool(arguments.get("SOURCE_DATE_EPOCH")),
    )


def machine_platform() -> Platform:
    """The platform of the machine that we are on."""
    return Platform.normalised("linux", os.uname().machine)


def _registry(request: BuildRequest) -> Registry:
    # Most builds find their bases in the store: HTTP is imported by the first that doesn't.
    from builder.registry.client import Registry

    return Registry(request.environment)


def _dockerfile(request: BuildRequest, folder: Path) -> tuple[Path | None, bytes]:
    """Where the Dockerfile is (None: it was read from stdin), and what it says."""
    if request.dockerfile_text is not None:
        return None, request.dockerfile_text
    path = _path(request, folder)
    small = path.with_name("dockerfile")
    try:
        # source: BuildKit, dockerui/config.go, ReadEntrypoint: "dockerfile" serves where there is no "Dockerfile"
        with open(small if path.name == "Dockerfile" and not path.exists() and small.exists() else path, "rb") as file:
            text = file.read(DOCKERFILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        near = sorted(item.name for item in folder.iterdir() if "dockerfile" in item.name.lower())[:3]
        raise DockerfileError(
            f"no Dockerfile: {path} does not exist",
            code="no-dockerfile",
            hint=f"name it with --file; there is: {', '.join(near)}" if near else "name it with --file",
        ) from None
    except OSError as e:
        raise DockerfileError(f"cannot read {path}: {e.strerror}", code="no-dockerfile") from None
    if len(text) > DOCKERFILE_LIMIT:
        raise DockerfileError(f"{path} is larger than {DOCKERFILE_LIMIT >> 20} MiB", code="dockerfile-too-large")
    return path, text


def _path(request: BuildRequest, folder: Path) -> Path:
    # In a context that was fetched the Dockerfile is one of its files; else --file is a path of the caller's.
    fetched = folder != Path(request.context)
    given = request.dockerfile or "Dockerfile"
    if fetched:
        return _inside(folder, given)
    return Path(given) if request.dockerfile else folder / given


def _inside(folder: Path, given: str) -> Path:
    """The file of a context that somebody else made: its links lead nowhere outside, and nobody waits for a pipe."""
    try:
        path = folder / resolve(TreeRoot(folder), given)
    except TooManyLinks:
        path = folder / given  # opening it says so
    if path.exists() and not path.is_file():
        raise DockerfileError(f"{given} in the context is not a file", code="no-dockerfile", hint="name it with --file")
    return path


def _shown(path: Path | None, folder: Path) -> str:
    """The Dockerfile's name in errors: as short as it is still clear."""
    if path is None:
        return "Dockerfile"
    try:
        return str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        return str(path)


class Contexts:
    """The build contexts of one build, each opened once, when it is first wanted."""

    def __init__(
        self,
        request: BuildRequest,
        main: Arrived,
        dockerfile: Path | None,
        store: Store,
        settings: Settings,
        *,
        remember: bool = True,
    ) -> None:
        self._remember = remember
        self._settings = settings
        self._request = request
        self._dockerfile = dockerfile
        self._store = store
        self._arrived = {"": main}
        self._open: dict[str, Context] = {}

    def open(self, name: str) -> Context:
        """The context called *name*; "" is the main one."""
        if name not in self._open:
            written = self._request.contexts[name] if name else self._request.context
            dockerfile = None if name else self._dockerfile
            self._open[name] = self._opened(name, written, self._arrive(name).folder, dockerfile)
        return self._open[name]

    def moment(self, source: ContextInput) -> int | None:
        """The time of what the context came as, seconds since the epoch; None for an image, and for a folder, which is
        as old as its files.

        source   BuildKit, docs/build-repro.md, "SOURCE_DATE_EPOCH"
        """
        if source.name and not is_folder(self._request.contexts[source.name]):
            return None
        fetched = self._arrive(source.name).fetched
        return None if fetched is None else fetched.moment()

    def _arrive(self, name: str) -> Arrived:
        if name not in self._arrived:
            self._arrived[name] = arrive_further(self._request.contexts[name], self._store, self._settings)
        return self._arrived[name]

    def _opened(self, name: str, written: str, folder: Path, dockerfile: Path | None) -> Context:
        memory = f"context {folder.resolve()}"
        return open_context(
            folder,
            dockerfile,
            without=written_beneath(folder, self._request),
            name=name,
            whole=folder != Path(written),
            load=lambda: self._store.memory(memory),
            save=(lambda known: self._store.remember(memory, known)) if self._remember else None,
        )


def written_beneath(folder: Path, request: BuildRequest) -> frozenset[str]:
    """The paths inside *folder* that the build itself writes: its outputs, and the store.

    ``pybuild .`` writes ./NAME.tar: were it part of the context, the next ``COPY . .`` would bring the last image into
    the new one, and no build would ever find its files unchanged. CI services keep only what lies in the job's folder,
    so that the store is put there, too.
    """
    top = os.path.realpath(folder)
    written = [request.root, request.iidfile, request.metadata_file, *(output.dest for output in request.outputs)]
    paths = (os.path.realpath(dest) for dest in written if dest and dest != "-")
    return frozenset(path[len(top) + 1 :] for path in paths if path.startswith(top + os.sep))


def _settings(request: BuildRequest) -> Settings:
    wanted = frozenset(name.lower() for name in request.no_cache_filter)
    rewritten = any(output.attributes.get("rewrite-timestamp") == "true" for output in request.outputs)
    return Settings(
        no_cache=lambda stage: request.no_cache or stage.lower() in wanted,
        network="none" if request.network == "none" else "host",
        hosts=request.add_hosts,
        shm_size=request.shm_size,
        ulimits=request.ulimits,
        limits=request.limits,
        secrets={secret.id: secret for secret in request.secrets},
        ssh={agent.id: agent for agent in request.ssh},
        allow=frozenset(request.allow),
        jobs=request.jobs or os.cpu_count() or 1,
        epoch=request.source_date_epoch,
        rewrite=rewritten or request.reproducible,
        environment=request.environment,
    )
