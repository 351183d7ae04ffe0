"""``run``: a command in a root made of an image, in the sandbox of RUN; and what it leaves behind."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from builder.engine.behind import behind, snapshotter_for
from builder.engine.containers.volumes import image_volumes
from builder.engine.damage import blamed
from builder.engine.running.copies import own_copies
from builder.engine.running.foreign import as_somebody, emulation, foreign
from builder.engine.running.limiting import group_of, limited
from builder.errors import ImageError, StoreError
from builder.events import Emit, Note
from builder.image.configuration import ImageConfig, RunConfig, chain_id
from builder.image.documents import Descriptor, Manifest, compression_of
from builder.layer.noted import note_command
from builder.sandbox.command import Command, ExitStatus, Extra
from builder.sandbox.runner import Runner
from builder.sandbox.stubs import clean_stubs
from builder.snapshot.drafts import put_back
from builder.store.containers import Container, Containers
from builder.store.layers import LayerInfo

if TYPE_CHECKING:
    from builder.engine.images.kept import Image
    from builder.image.names import Platform
    from builder.sandbox.gate import Identity
    from builder.sandbox.groups.delegated import Groups
    from builder.sandbox.groups.limits import Limits
    from builder.snapshot.contract import Draft, Packed, Snapshot, Snapshotter
    from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """How a container is to be run.

    config      the image's, changed as the caller wants
    extras      mounts;  mounts  the same in words, for ``inspect``
    stdin       a descriptor, None for none;  terminal  whether it is one, and stdout and stderr with it
    stdout, stderr   descriptors that output is written to
    keep        whether the container is kept when the command has ended
    """

    id: str
    name: str
    image: Image
    image_name: str
    config: RunConfig
    extras: tuple[Extra, ...] = ()
    mounts: tuple[str, ...] = ()
    stdin: int | None = None
    terminal: bool = False
    stdout: int = 1
    stderr: int = 2
    keep: bool = True
    read_only: bool = False
    network: str = "host"
    hostname: str = ""
    hosts: tuple[str, ...] = ()
    security: str = "sandbox"
    capabilities: tuple[str, ...] | None = None
    shm_size: int = 64 << 20
    ulimits: tuple[tuple[str, int, int], ...] = ()
    limits: Limits | None = None
    isolation: str = "auto"
    userns: str = "auto"
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def argv(self) -> tuple[str, ...]:
        """What is executed."""
        return (*(self.config.entrypoint or ()), *(self.config.cmd or ()))


def run(request: RunRequest, store: Store, emit: Emit) -> ExitStatus:
    """Run the container to its end.

    raises   CommandFailed, its exit code 126 or 127, if the program cannot be run; other BuilderErrors if nothing ran
    """
    if not request.argv:
        raise ImageError(
            f"{request.image_name} says no command to run, and none was given",
            code="no-command",
            hint=f"give one: pybuild run {request.image_name} COMMAND",
        )
    containers = Containers(store)
    if request.keep:
        containers.must_be_free(request.name)
    created = _now()
    others = foreign([request.image.whole()[1].platform])
    with limited(request.limits) as groups:
        status, snapshot, shelf = as_somebody(
            lambda who: behind(who, lambda send: _inside(request, store, who, others, groups, send), emit),
            request.userns,
            others,
        )
    if snapshot:
        containers.add(_container(request, status, snapshot, shelf, created))
    return status


def _inside(
    request: RunRequest,
    store: Store,
    who: Identity,
    others: frozenset[Platform],
    groups: Groups | None,
    emit: Emit,
) -> tuple[ExitStatus, str, str]:
    """How it ended, the snapshot of its root ("" if none is kept), and where that is."""
    with Runner(jailed=who.kind == "chroot") as runner:
        snapshotter = snapshotter_for(store.root, who, request.isolation)
        manifest, config = request.image.whole()
        emulated = emulation(runner, who, others, store.root, emit)
        if emulated is not None:
            emulated.ready(config.platform)
        parent = _unpacked(store, snapshotter, manifest, config, emit)
        draft = snapshotter.prepare(parent)
        try:
            with image_volumes(request.config.volumes, request.extras, snapshotter, parent, store) as volumes:
                extras = (*volumes, *request.extras)
                if who.kind == "chroot":
                    extras = own_copies(extras, draft.folder / "copies")
                with group_of(groups) as group:
                    status = _execute(request, runner, snapshotter, draft, extras, group)
                shutil.rmtree(draft.folder / "copies", ignore_errors=True)
            if not request.keep:
                return status, "", ""
            info = LayerInfo(snapshot=draft.id, parent=parent.id if parent else "", created=_now())
            snapshot = snapshotter.commit(draft)
            store.layers.put(replace(info, snapshot=snapshot.id))
        finally:
            if draft.folder.exists():
                snapshotter.discard(draft)
        return status, snapshot.id, f"{snapshotter.name}-{who.key}"


def _execute(
    request: RunRequest,
    runner: Runner,
    snapshotter: Snapshotter,
    draft: Draft,
    extras: tuple[Extra, ...],
    group: str,
) -> ExitStatus:
    root = draft.folder / "root"
    hostname = request.hostname or request.id[:12]
    command = Command(
        root=snapshotter.mounts(draft, root),
        root_path=root,
        owners=draft.folder / "command.owners",
        held_owners=tuple(snapshotter.owners(draft).items()),
        argv=request.argv,
        # moby, container/container.go, CreateDaemonEnvironment: these are the container's, not its configuration's
        env=(f"HOSTNAME={hostname}", *(("TERM=xterm",) if request.terminal else ()), *request.config.env),
        cwd=request.config.working_dir or "/",
        user=request.config.user,
        extras=extras,
        network=request.network,
        hostname=hostname,
        hosts=request.hosts,
        security=request.security,
        read_only=request.read_only,
        shm_size=request.shm_size,
        ulimits=request.ulimits,
        terminal=request.terminal,
        group=group,
    )
    if request.capabilities is not None:
        command = replace(command, capabilities=request.capabilities)
    streams = {1: request.stdout, 2: request.stderr}
    done = runner.run(command, output=lambda stream, data: _write(streams[stream], data), stdin=request.stdin)
    clean_stubs(draft.tree, done.stubs)
    put_back(draft, done.put_back)
    note_command(draft.folder, draft.tree, draft.folder / "command.owners", command.held_owners)
    return done.status


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _unpacked(
    store: Store, snapshotter: Snapshotter, manifest: Manifest, config: ImageConfig, emit: Emit
) -> Snapshot | None:
    """The image's root, unpacked if it isn't yet; None for an image without layers."""
    if not config.diff_ids:
        return None
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageError("the image has another number of layers than diff ids", code="invalid-document")
    found = snapshotter.get(f"base-{chain_id(config.diff_ids).hex}")
    if found is None:
        for layer in manifest.layers:
            if not store.blobs.touch(layer.digest):
                raise ImageError(
                    f"the store does not have the layer {layer.digest}",
                    code="missing-blob",
                    hint="get the image again: pybuild pull",
                )
        emit(Note("info", f"unpacking {len(manifest.layers)} layers"))
        with blamed(store, manifest.layers, "get the image again: pybuild pull"):
            found = snapshotter.unpack(_packed(store, manifest, config))
    return found


def _packed(store: Store, manifest: Manifest, config: ImageConfig) -> list[Packed]:
    from builder.snapshot.contract import Packed

    return [
        Packed(
            chain=chain_id(config.diff_ids[: number + 1]),
            diff_id=config.diff_ids[number],
            compression=compression_of(layer.media_type),
            open=partial(_open, store, layer),
        )
        for number, layer in enumerate(manifest.layers)
    ]


def _open(store: Store, layer: Descriptor) -> BinaryIO:
    from builder.store.verified import verified

    return verified(store.blobs.open(layer.digest), layer)


def _container(request: RunRequest, status: ExitStatus, snapshot: str, shelf: str, created: str) -> Container:
    return Container(
        id=request.id,
        name=request.name,
        image=request.image.id,
        image_name=request.image_name,
        manifest=request.image.chosen.json(),
        snapshot=snapshot,
        shelf=shelf,
        argv=request.argv,
        exit_code=status.code,
        created=created,
        started=created,
        finished=_now(),
        config=dict(request.details) | request.config.json(),
        mounts=request.mounts,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def remove(store: Store, text: str) -> str:
    """Remove a container with its root; its name. StoreError ``no-such-container``."""
    from builder.engine.behind import identity_of, snapshotter_of

    containers = Containers(store)
    container = found(containers, text)
    who = identity_of(container.shelf)
    # leaves, if killed between: a snapshot that nothing leads to; the next prune removes it
    containers.delete(container)
    try:
        behind(who, lambda _: snapshotter_of(store.root, container.shelf).remove(container.snapshot))
    except StoreError as e:
        if e.code != "snapshot-in-use":  # an image was committed of it and is being used: prune removes it later
            raise
    else:
        store.layers.delete(container.snapshot)
    return container.name


def found(containers: Containers, text: str) -> Container:
    """The container *text*; StoreError ``no-such-container``."""
    container = containers.find(text)
    if container is None:
        # Only a mistake needs it.
        from difflib import get_close_matches

        near = get_close_matches(text, [one.name for one in containers.list()], n=1)
        raise StoreError(
            f"no such container: {text}",
            code="no-such-container",
            hint=f"did you mean {near[0]}?" if near else "'pybuild ps -a' lists them",
        )
    return container
