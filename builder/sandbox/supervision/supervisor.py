"""The supervisor of one command: a process that answers the calls which its filter asks about.

It is forked when the first call comes, by the server, so that it is outside of the command's pid namespace: the command
neither sees nor kills it, and is the first process in there, as always. It has the command's root, so that paths mean
the same, and ends when it is killed, which is when the command has ended. A call that it cannot answer the kernel does.

One that cannot go on says why, and the server ends its command, which would be told ENOSYS by the kernel from then on.

It waits for nothing but the next call: what might block (a fifo, a lock) is never opened, and each file is named anew
with each call. Whoever it serves may change a path between its look and the kernel's: this emulates, it guards nothing.

source   seccomp_unotify(2)
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from builder.errors import BuilderError
from builder.layer import ownership
from builder.sandbox.channel import ERROR, Sender, as_internal
from builder.sandbox.command import Command
from builder.sandbox.supervision.caller import Caller, Proc
from builder.sandbox.supervision.filters import Supervision
from builder.sandbox.supervision.identities import Identities
from builder.sandbox.supervision.making import ANSWERED, Making
from builder.sandbox.supervision.moving import Moving
from builder.sandbox.supervision.owning import Files, Owning
from builder.sandbox.supervision.peers import Peers
from builder.sandbox.supervision.statuses import Statuses
from native import constants, notified, syscalls
from native.notify import Listener

TOLD = 3
"""The exit code of a supervisor that said why it ends."""
_Handler = Callable[..., int | None]


def fork(wanted: Supervision, listener: int, root: int, command: int, report: int) -> int:
    """The process id of the supervisor of those whom *listener* tells of.

    root      a descriptor of the command's root;  command  the memory file that the pickled command is in
    report    receives the error of a supervisor that cannot go on, which then ends with the code TOLD
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
        with os.fdopen(os.dup(command), "rb") as file:
            file.seek(0)
            value = pickle.load(file)
        assert isinstance(value, Command)
        _close_others({0, 1, 2, listener, root, report})
        _supervise(wanted, listener, root, value)
    except BuilderError as error:
        Sender(report).send(ERROR, error)
    except BaseException as error:  # the last line of a process: whatever it is must be told
        Sender(report).send(ERROR, as_internal(error))
    finally:
        os._exit(TOLD)


def _close_others(kept: set[int]) -> None:
    """Other commands' reports end when all their writers have closed, and we are none."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the folder's own descriptor is among them
                os.close(int(name))


def _supervise(wanted: Supervision, listener: int, root: int, command: Command) -> NoReturn:
    os.umask(0)
    # With the old root, whose /proc has us.
    ownership.ids()
    caller = Caller(Proc(), root)
    table = command.owners.open("ab") if command.owners is not None else None
    caller.come_back()
    files = Files(caller, _links(command), table, root=os.stat("/").st_dev)
    handlers = _handlers(wanted, files, Listener(listener))
    calls = {key: handlers[name] for key, name in notified.numbers().items() if name in handlers}
    _loop(Listener(listener), caller, calls)


def _links(command: Command) -> dict[tuple[int, int], ownership.Owner]:
    """What is known of links and special files in the root."""
    found = {}
    for path, owner in command.held_owners:
        with suppress(OSError):  # hidden by what is mounted over it
            status = os.lstat(b"/" + path)
            found[status.st_dev, status.st_ino] = owner
    return found


def _handlers(wanted: Supervision, files: Files, listener: Listener) -> dict[str, _Handler]:
    if not wanted.single:
        parts: tuple[object, ...] = (Owning(files),)
    else:
        identities = Identities(files)
        parts = (identities, Statuses(files), Making(files, identities, listener), Moving(files), Peers(identities))
    return {
        name: handler
        for part in parts
        for name in notified.CALLS
        if (handler := getattr(part, f"_on_{name}", None)) is not None
    }


def _loop(listener: Listener, caller: Caller, calls: dict[tuple[int, int], _Handler]) -> NoReturn:
    while True:
        call = listener.receive()
        if call is None:
            continue
        caller.identifier, caller.pid, _, number, architecture, _, *arguments = call
        handler = calls.get((architecture, number & 0xFFFFFFFF))
        try:
            if handler is None:
                value = None
            elif caller.chroots:
                with caller.its_root():
                    value = handler(*arguments)
            else:
                value = handler(*arguments)
        except OSError as error:
            listener.fail(caller.identifier, error.errno or 1)
            continue
        if value is None:
            listener.go_on(caller.identifier)
        elif value != ANSWERED:
            listener.answer(caller.identifier, value)
