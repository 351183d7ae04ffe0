"""RUN --mount: what a step's mounts become for the sandbox, for as long as its command runs."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from builder.engine.copying.steps import copy_folder
from builder.engine.running.agents import relayed
from builder.engine.running.cache_mounts import cache_name, held_caches
from builder.engine.running.roots import beneath
from builder.errors import ContextError, DockerfileError, HostError
from builder.layer import ownership
from builder.layer.ownership import told_at
from builder.plan.steps import (
    BindMount,
    CacheMount,
    ContextInput,
    RunStep,
    ScratchInput,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from builder.sandbox.command import Extra

if TYPE_CHECKING:
    from builder.engine.position import Walk
    from builder.engine.workshop import Workshop
    from builder.engine.world import Settings

SECRET_LIMIT = 500 << 10
"""Bytes of a secret at the most, as BuildKit has it (session/secrets, MaxSecretSize)."""


def mounted(
    step: RunStep, workshop: Workshop, walk: Walk, stack: ExitStack
) -> tuple[tuple[Extra, ...], tuple[str, ...]]:
    """The mounts of *step* as the sandbox takes them, and the environment that secrets add.

    stack  holds views and locks; closed after the command
    """
    extras: list[Extra] = []
    env: list[str] = []
    caches = held_caches(
        [mount for mount in step.mounts if isinstance(mount, CacheMount)],
        workshop.inside.mounts,
        walk,
        lambda mount, folder: _seed(mount, folder, workshop, walk),
        stack,
        alone=workshop.inside.jailed,
    )
    for mount in step.mounts:
        match mount:
            case BindMount():
                extras.append(_bind(mount, workshop, walk, stack))
            case CacheMount():
                if mount.input is None or isinstance(mount.input, ScratchInput):
                    _must_be_whole(mount)
                place = caches[cache_name(mount, walk)]
                extras.append(
                    Extra(
                        target=mount.target,
                        kind="bind",
                        source=place,
                        read_only=mount.read_only,
                        movable=not mount.read_only,
                    )
                )
            case TmpfsMount():
                _must_be_whole(mount)
                extras.append(
                    Extra(
                        target=mount.target,
                        kind="tmpfs",
                        size=mount.size,
                        mode=0o1777,
                        keeps_mode=True,
                        read_only=mount.read_only,
                    )
                )
            case SecretMount():
                value = _secret(mount, workshop.world.settings)
                if value is None:
                    continue
                if mount.env:
                    env.append(f"{mount.env}={value.decode('utf-8', 'surrogateescape')}")
                if mount.target is not None:
                    extras.append(_secret_file(mount, mount.target, value))
            case SshMount():
                socket = _agent(mount, workshop.world.settings)
                if socket is None:
                    continue
                # The plan has told the command where it is, in SSH_AUTH_SOCK.
                assert mount.target is not None
                place = workshop.world.store.tmp() / "agent"
                stack.enter_context(relayed(socket, place, mode=mount.mode, uid=mount.uid, gid=mount.gid))
                extras.append(Extra(target=mount.target, kind="bind", source=place, movable=True))
            case _:
                assert_never(mount)
    return tuple(extras), tuple(env)


def _must_be_whole(mount: CacheMount | TmpfsMount) -> None:
    """Refuse a part of what begins empty, as BuildKit fails for lack of it."""
    if mount.source != "/":
        raise ContextError(
            f"open {mount.source}: no such file or directory",
            code="source-not-found",
            where=mount.where,
            hint="a cache without from=, and a tmpfs, begin empty: there is no part of them to mount",
        )


def _bind(mount: BindMount, workshop: Workshop, walk: Walk, stack: ExitStack) -> Extra:
    source = _source(mount, workshop, walk, stack, writable=mount.writable)
    return Extra(target=mount.target, kind="bind", source=source, read_only=not mount.writable, movable=mount.writable)


def _source(mount: BindMount | CacheMount, workshop: Workshop, walk: Walk, stack: ExitStack, *, writable: bool) -> Path:
    """The file or folder that *mount* shows, as a path of our own; writes to it reach nobody."""
    assert mount.input is not None
    # A context is filtered by its ignore file, and its owners are not the image's: the command sees a copy of it.
    position = walk.brought(mount) if isinstance(mount.input, ContextInput) else walk.position_of(mount.input)
    if writable:
        draft = stack.enter_context(workshop.throwaway(position))
        root = stack.enter_context(workshop.inside.snapshotter.view(draft))
    else:
        root = stack.enter_context(workshop.root(position))
    found = beneath(root, mount.source)
    if found is None:
        path = "/" + mount.source.strip("/")
        raise ContextError(f'failed to mount: "{path}": not found', code="source-not-found", where=mount.where)
    return found


def _seed(mount: CacheMount, folder: Path, workshop: Workshop, walk: Walk) -> None:
    with ExitStack() as stack:
        source = _source(mount, workshop, walk, stack, writable=False)
        copy_folder(source, folder, mount)
        # The cache is the folder itself, not only what is in it; uid, gid and mode are for caches that begin empty.
        status = told_at(str(source), os.stat(source))
        ownership.give(str(folder), status.st_uid, status.st_gid)
        os.chmod(folder, stat.S_IMODE(status.st_mode))


def _secret(mount: SecretMount, settings: Settings) -> bytes | None:
    secret = settings.secrets.get(mount.id)
    if secret is None:
        if mount.required:
            raise DockerfileError(
                f"secret {mount.id}: not found",
                code="missing-secret",
                where=mount.where,
                hint=f"give it with --secret id={mount.id},src=FILE",
            )
        return None
    if secret.value is not None:
        value = secret.value
    else:
        try:
            value = Path(secret.source or "").read_bytes()
        except OSError as e:
            raise ContextError(
                f"the secret {mount.id} cannot be read: {e.strerror}", code="unreadable-secret", where=mount.where
            ) from None
    if len(value) > SECRET_LIMIT:
        raise ContextError(
            f"the secret {mount.id} is larger than {SECRET_LIMIT >> 10} KiB", code="secret-too-large", where=mount.where
        )
    return value


def _secret_file(mount: SecretMount, target: str, value: bytes) -> Extra:
    return Extra(
        target=target,
        kind="file",
        content=value,
        mode=mount.mode,
        uid=mount.uid,
        gid=mount.gid,
        read_only=True,
        secret=True,
    )


def _agent(mount: SshMount, settings: Settings) -> Path | None:
    agent = settings.ssh.get(mount.id)
    if agent is None:
        if mount.required:
            raise DockerfileError(
                f"unset ssh forward key {mount.id}",
                code="missing-ssh-agent",
                where=mount.where,
                hint=f"give an agent's socket with --ssh {mount.id}=$SSH_AUTH_SOCK",
            )
        return None
    path = Path(agent.paths[0]) if agent.paths else None
    if path is None or not path.is_socket():
        raise HostError(
            f"--ssh {mount.id} is not the socket of an agent: {path or 'SSH_AUTH_SOCK is not set'}",
            code="no-ssh-agent",
            where=mount.where,
            hint="start ssh-agent, add the key, and give its socket; key files are not read by pybuild",
        )
    return path
