"""A command where no namespace is to be had: root in a tree of its own, by chroot(2), and its keeper outside.

The keeper is forked by the server for each command::

    server ── keeper ── the one that answers for /proc ── the command, in its root, with all that it starts

Nothing can be mounted: the keeper puts /dev, names and extras into the tree (``places``) and takes them out afterwards.
There is no pid namespace: all orphans are adopted, and the keeper ends them when the command has ended, or when it is
told to by SIGTERM, which it also gets if the server dies. It is itself outside of the root, and the command can reach
it: a jail keeps mistakes in, not an enemy, who has what the container around has.

source   prctl(2), PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG; chroot(2)
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from builder.errors import BuilderError, HostError
from builder.sandbox import launch, orphans
from builder.sandbox.channel import ERROR, MESSAGE, RESULT, Sender, as_internal
from builder.sandbox.command import Command
from builder.sandbox.enter import begin_session, enter_folder, step, user_of
from builder.sandbox.groups import entering
from builder.sandbox.jail import equipment, procfs
from builder.sandbox.jail.places import Places
from native import constants, syscalls

_ANSWERER_GONE = HostError(
    "the process that answers a command's questions about /proc was killed from outside",
    code="killed",
    hint="most often memory ran out: give the build more",
)
_AWAITED = (signal.SIGTERM, signal.SIGCHLD)


def keep(command: Command, sender: Sender) -> NoReturn:
    """The keeper's life; the command's wait status, or what failed, is told by *sender*."""
    syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    orphans.adopt()
    _refuse(command)
    status = -1
    with _equipped(command, sender) as (tree, devices):
        with step("forking the command"):
            child, told = procfs.fork(lambda channel: _become(command, tree, sender, channel), tree, devices=devices)
        status = int(signal.SIGKILL)
        if _await(child):
            status = int(os.read(told, 16) or b"-1")
        orphans.end()
    if status < 0:
        raise _ANSWERER_GONE
    sender.send(RESULT, status)
    os._exit(0)


def _refuse(command: Command) -> None:
    """What cannot be done without namespaces, and would not be noticed if it weren't."""
    what, hint = "", "podman's seccomp profile, or --security-opt seccomp=unconfined, lets containers have it"
    if command.network == "none":
        what = "a command without network"
    elif command.read_only:
        what = "a read-only root"
    elif command.sysctls:
        what = f"the setting {command.sysctls[0][0]}"
    if what:
        raise HostError(f"{what} needs a namespace, and none is to be had here", code="needs-namespace", hint=hint)


@contextmanager
def _equipped(command: Command, sender: Sender) -> Iterator[tuple[Path, bool]]:
    """The tree with all that a command finds in it, devices too if so; taken out at the end, come what may."""
    tree = command.root[0].source if command.root else None
    if tree is None:
        tree = command.root_path
        tree.mkdir(mode=0o755, parents=True, exist_ok=True)
    places = Places(tree)
    try:
        devices = equipment.put(places, command)
        places.settle()
        yield tree, devices
    finally:
        with step("putting back what was in the way"):
            put_back = places.take_out()
        sender.send(MESSAGE, put_back)


def _await(child: int) -> bool:
    """Wait until *child* has ended, or SIGTERM comes: whether it was the first. Whoever else ends meanwhile is reaped.

    Signals are waited for, not handled: one that comes between Python's last look and a blocking call is seen too late.
    """
    while True:
        if signal.sigwait(_AWAITED) == signal.SIGTERM:
            return False
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return True
            if pid == 0:
                break


def _become(command: Command, tree: Path, sender: Sender, handover: socket.socket) -> NoReturn:
    """The child's life, from fork to exec."""
    try:
        _enter(command, tree, handover)
    except BuilderError as error:
        sender.send(ERROR, error)
    except BaseException as error:  # the last line of a process: whatever it is must be told
        sender.send(ERROR, as_internal(error))
    finally:
        os._exit(125)


def _enter(command: Command, tree: Path, handover: socket.socket) -> NoReturn:
    keeper, have = os.getppid(), launch.permitted()
    entrance = entering.entrance(command.group)
    with step("changing the root"):
        os.chroot(tree)
        os.chdir("/")
    user = user_of(command)
    with step(f"entering the working directory {command.cwd}"):
        enter_folder(command.cwd, user)
    begin_session(command, user, entrance)
    env = launch.environment(command, user.home)
    with step("dropping rights"):
        # Without CAP_SYS_ADMIN no filter is to be had otherwise. seccomp(2), EACCES
        syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
        launch.drop_rights(command, user, lambda: procfs.hand_over(handover), have)
    # After the change of ids, which clears it. prctl(2), PR_SET_PDEATHSIG
    syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(125)
    launch.reset_signals()
    launch.execute(command.argv, env)
