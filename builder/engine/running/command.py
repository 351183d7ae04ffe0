"""RUN: a command in the draft's root, with its mounts."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dockerfile.quoting import quoted
from builder.engine.running.copies import own_copies
from builder.engine.running.limiting import group_of, reached
from builder.engine.running.mounting import mounted
from builder.errors import BuilderError, CommandFailed, DockerfileError, HostError
from builder.events import StepOutput
from builder.layer.noted import note_command
from builder.plan.steps import RunStep
from builder.sandbox.command import SANDBOX_HOSTNAME, Command, ExitStatus, Extra
from builder.sandbox.stubs import clean_stubs
from builder.snapshot.drafts import put_back

if TYPE_CHECKING:
    from builder.engine.position import Walk
    from builder.engine.workshop import Workshop
    from builder.image.names import Platform
    from builder.sandbox.groups.limits import Limits
    from builder.snapshot.contract import Draft

_LITTLE = 1 << 20
"""Bytes: with less free in the store, a command that failed may have failed by that."""


def perform_run(step: RunStep, platform: Platform, draft: Draft, workshop: Workshop, walk: Walk) -> None:
    """Run the step's command, which is a program for *platform*.

    raises   CommandFailed when it ends with anything but 0; HostError when there is nothing to run it with
    """
    world, inside = workshop.world, workshop.inside
    _allowed(step, world.settings.allow)
    root = draft.folder / "root"
    with ExitStack() as stack:
        extras, env = mounted(step, workshop, walk, stack)
        if inside.jailed:
            extras = own_copies(extras, draft.folder / "copies")
            stack.callback(shutil.rmtree, draft.folder / "copies", ignore_errors=True)
        group = stack.enter_context(group_of(inside.groups))
        command = Command(
            root=inside.snapshotter.mounts(draft, root),
            root_path=root,
            owners=draft.folder / "command.owners",
            held_owners=tuple(inside.snapshotter.owners(draft).items()),
            argv=step.argv,
            env=(*step.env, *step.quiet_env, *env),
            cwd=step.cwd,
            user=step.user,
            extras=(*_scripts(step), *extras),
            network=world.settings.network if step.network == "default" else step.network,
            hosts=world.settings.hosts,
            hostname=step.hostname or SANDBOX_HOSTNAME,
            security=step.security,
            shm_size=world.settings.shm_size,
            ulimits=world.settings.ulimits,
            group=group,
        )
        try:
            if inside.emulation is not None:
                inside.emulation.ready(platform)
            done = inside.runner.run(
                command, output=lambda stream, data: world.emit(StepOutput(step.number, stream, data))
            )
        except BuilderError as error:
            error.where = error.where or step.where
            raise
    if done.status.code:
        raise _failure(step, done.status, _little_room(draft.folder), world.settings.limits)
    clean_stubs(draft.tree, done.stubs)
    put_back(draft, done.put_back)
    note_command(draft.folder, draft.tree, draft.folder / "command.owners", command.held_owners)


def _allowed(step: RunStep, allow: frozenset[str]) -> None:
    if step.security == "insecure" and "security.insecure" not in allow:
        raise DockerfileError(
            "security.insecure is not allowed",
            code="not-allowed",
            where=step.where,
            hint="allow it with --allow security.insecure",
        )
    if step.devices:
        raise HostError(
            f"no CDI device {step.devices[0]} is known here",
            code="no-such-device",
            where=step.where,
            hint="RUN --device needs a CDI specification in /etc/cdi or /var/run/cdi; this version reads none",
        )


def _scripts(step: RunStep) -> tuple[Extra, ...]:
    return tuple(
        Extra(target=path, kind="file", content=content.encode("utf-8", "surrogateescape"), mode=0o755, read_only=True)
        for path, content in step.files
    )


_OUT_OF_MEMORY = {
    "group": "memory ran out, and the kernel killed a process of this build; give it more, or let the command use less",
    "machine": "memory ran out, and the kernel killed a process of this machine while this ran, most likely this one;"
    " give the build more, or let the command use less",
}


def _little_room(folder: Path) -> str | None:
    """What to do if the command may have failed for want of room; its files are still there."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free >= _LITTLE and (room.f_favail or not room.f_files):
        return None
    left = f"{free >> 10} KiB" if free < _LITTLE else "no inode"
    return f"the store's file system has {left} left: pybuild prune makes room, and --root puts the store elsewhere"


def _failure(step: RunStep, status: ExitStatus, room: str | None, limits: Limits | None) -> CommandFailed:
    shown = quoted(" ".join(step.argv))
    ended = f"signal {status.signal}, exit code: {status.code}" if status.signal else f"exit code: {status.code}"
    hint = None
    if status.killed_in == "limit" and limits is not None:
        hint = reached(limits)
    elif status.killed_in:
        hint = _OUT_OF_MEMORY[status.killed_in]
    elif 9 in (status.signal, status.code - 128):
        hint = "it was killed with SIGKILL, and not by the kernel for want of memory, as far as can be seen here"
    else:
        hint = room
    return CommandFailed(
        f"process {shown} did not complete successfully: {ended}",
        code="command-failed",
        exit_code=status.code,
        where=step.where,
        hint=hint,
    )
