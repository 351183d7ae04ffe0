"""The server: a small process with one thread that clones a child for each command.

A process with threads must not be copied: a lock that another thread holds is held in the copy for ever. So the runner
forks this one while the builder still has one thread, and asks it. A request is one byte, of flags, with five
descriptors: the pickled command (a memfd), stdin, stdout, stderr, and the report, a socket. Over that come frames
(``channel``): the stubs; an error, if the command did not start; and at the end the wait status, all but the last from
the child. It closes when the child is gone. When the other end shuts its writing down, or closes, the command is
killed. When the requests' socket closes, all are, and the server ends.

Where commands are jailed (no namespaces: see ``jail``), the child is the command's keeper, which tells the wait status
itself, when it has ended all that the command left and the tree is as it is to be; so it is asked to end, not killed.
"""

from __future__ import annotations

import array
import os
import pickle
import select
import signal
import socket
import traceback  # noqa: F401 - for as_internal, after the root is switched
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from builder.errors import BuilderError, HostError
from builder.sandbox import (
    orphans,
    refusals,
    unexpected,  # noqa: F401 - for as_internal, after the root is switched
)
from builder.sandbox.channel import ERROR, MESSAGE, RESULT, Sender, as_internal
from builder.sandbox.command import Command

# All that a child needs is imported before it switches its root, where no module is found any more.
from builder.sandbox.enter import enter
from builder.sandbox.jail.keeper import keep
from builder.sandbox.supervision.filters import Supervision, hand_over, supervision
from native import constants, syscalls

NEW_NETWORK = 1
_DESCRIPTORS = 5
_NAMESPACES = constants.CLONE_NEWNS | constants.CLONE_NEWPID | constants.CLONE_NEWIPC | constants.CLONE_NEWUTS


_KEEPER_GONE = HostError(
    "the process that looked after the command was killed from outside",
    code="killed",
    hint="most often memory ran out: give the build more",
)


@dataclass(slots=True)
class _Child:
    """A command. handover: where its filter's listener comes from; listener: that, until somebody supervises it."""

    pid: int
    report: int
    command: int = -1
    handover: socket.socket | None = None
    listener: int = -1
    root: int = -1
    supervisor: int = 0


def serve(requests: socket.socket, *, jailed: bool = False) -> NoReturn:
    """Serve until the other end closes. Does not return; runs in a process of its own."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, _Child] = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    wanted = None if jailed else supervision()
    ending = signal.SIGTERM if jailed else signal.SIGKILL
    if jailed:
        orphans.adopt()
    while True:
        for fd, _ in poll.poll():
            if fd == requests.fileno():
                child = _accept(requests, wanted, jailed)
                if child is None:
                    _end(children, ending)
                elif child.pid:
                    children[child.pid] = child
                    # Nothing is ever read from it: it becomes readable when the other end is shut down.
                    poll.register(child.report, select.POLLIN)
                    if child.handover is not None:
                        poll.register(child.handover, select.POLLIN)
            elif fd == wake_read:
                os.read(wake_read, 4096)
                for child in _reap(children, jailed):
                    with suppress(KeyError):  # killed, so that nothing more is awaited from there
                        poll.unregister(child.report)
                    for other in _descriptors(child):
                        with suppress(KeyError):
                            poll.unregister(other)
                    _close(child)
            elif wanted is not None and (asked := _of(children, fd)) is not None:
                poll.unregister(fd)
                if (listener := _supervise(asked, fd, wanted)) >= 0:
                    poll.register(listener, select.POLLIN)
            elif _kill(children, fd, ending):
                poll.unregister(fd)


def _accept(requests: socket.socket, wanted: Supervision | None, jailed: bool) -> _Child | None:
    """A command's child, None if nobody asks any more; its pid is 0 if it could not be cloned."""
    flags, descriptors = _receive(requests)
    if not descriptors:
        return None
    command, *streams, report = descriptors
    ours, theirs = socket.socketpair() if wanted is not None else (None, None)
    try:
        new = 0 if jailed else _NAMESPACES | (constants.CLONE_NEWNET if flags & NEW_NETWORK else 0)
        pid = syscalls.clone(new)
        if pid == 0:
            _child(command, streams, report, wanted, theirs, jailed)
        return _Child(pid=pid, report=report, command=os.dup(command), handover=ours)
    except OSError as error:
        _tell(report, refusals.command_refused(error, new_network=bool(flags & NEW_NETWORK)))
        os.close(report)
        return _Child(pid=0, report=-1)
    finally:
        for fd in (command, *streams):
            os.close(fd)
        if theirs is not None:
            theirs.close()


def _of(children: dict[int, _Child], fd: int) -> _Child | None:
    """The child that has something to be supervised."""
    return next((child for child in children.values() if fd in _descriptors(child)), None)


def _descriptors(child: _Child) -> list[int]:
    handover = [child.handover.fileno()] if child.handover is not None else []
    return [*handover, *([child.listener] if child.listener >= 0 else [])]


def _supervise(child: _Child, fd: int, wanted: Supervision) -> int:
    """Take the listener over, or have it supervised if it was called; the descriptor to wait for then, or -1."""
    if child.handover is not None and fd == child.handover.fileno():
        _, found, _, _ = socket.recv_fds(child.handover, 1, 2)
        child.handover.close()
        child.handover = None
        if len(found) == 2:  # else it ended before
            child.listener, child.root = found
        return child.listener
    # Only the first call of the kind starts a supervisor: most commands never make one.
    from builder.sandbox.supervision import supervisor

    child.supervisor = supervisor.fork(wanted, child.listener, child.root, child.command, child.report)
    for number in (child.listener, child.root):
        os.close(number)
    child.listener = child.root = -1
    return -1


def _close(child: _Child) -> None:
    for number in (child.report, child.command, child.listener, child.root):
        if number >= 0:
            os.close(number)
    if child.handover is not None:
        child.handover.close()


def _receive(requests: socket.socket) -> tuple[int, list[int]]:
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_DESCRIPTORS * descriptors.itemsize)
    data, ancillary, _, _ = requests.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload)
    return data[0] if data else 0, list(descriptors)


def _child(
    command: int,
    streams: list[int],
    report: int,
    wanted: Supervision | None,
    handover: socket.socket | None,
    jailed: bool,
) -> NoReturn:
    """The process between clone and exec, or the keeper; whatever fails in it is told, none of it is lost."""
    sender = Sender(report)
    try:
        signal.set_wakeup_fd(-1)
        with os.fdopen(os.dup(command), "rb") as file:
            file.seek(0)
            value = pickle.load(file)
        assert isinstance(value, Command)
        for fd, stream in enumerate(streams):
            os.dup2(stream, fd)
        _close_others(report, *([handover.fileno()] if handover is not None else []))

        def supervised(root: int) -> None:
            # security=insecure says: no filter. Without one that emulates ids, though, no user could be run as.
            if wanted is not None and handover is not None and (wanted.single or value.security != "insecure"):
                hand_over(wanted, handover, root)

        if jailed:
            keep(value, sender)
        enter(value, lambda stubs: sender.send(MESSAGE, stubs), supervised)
    except BuilderError as error:
        sender.send(ERROR, error)
    except BaseException as error:  # the last line of a process: whatever it is must be told
        sender.send(ERROR, as_internal(error))
    finally:
        os._exit(125)


def _close_others(*kept: int) -> None:
    """Close all but the streams and what is *kept*, whoever left it open before us."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):  # the folder's own descriptor is among them
                os.close(int(name))


def _reap(children: dict[int, _Child], jailed: bool) -> list[_Child]:
    """Children that ended, their status told."""
    ended = []
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        child = children.pop(pid, None)
        if child is None:
            _end_unsupervised(children, pid, status)
            continue
        if child.supervisor:
            # Before its command's end is told: what it noted is complete then.
            os.kill(child.supervisor, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child.supervisor, 0)
        with suppress(OSError):  # whoever asked is gone
            if not jailed:
                Sender(child.report).send(RESULT, status)
            elif status:
                _end_orphans(children)
                Sender(child.report).send(ERROR, _KEEPER_GONE)
        ended.append(child)
    return ended


def _end_orphans(children: dict[int, _Child]) -> None:
    """Kill what a keeper left that was itself killed. Ours are other keepers, and those whose parents are gone."""
    ours = [pid for pid in orphans.descendants(os.getpid()) if orphans.parent_of(str(pid)) == os.getpid()]
    for pid in ours:
        if pid not in children:
            for below in (*orphans.descendants(pid), pid):
                with suppress(ProcessLookupError):
                    os.kill(below, signal.SIGKILL)


def _end_unsupervised(children: dict[int, _Child], supervisor: int, status: int) -> None:
    """End the command whose *supervisor* has ended by itself: the kernel would answer its calls with ENOSYS."""
    for child in children.values():
        if child.supervisor != supervisor:
            continue
        child.supervisor = 0
        if os.WIFSIGNALED(status):  # else it said itself what was wrong
            number = os.WTERMSIG(status)
            _tell(
                child.report,
                HostError(
                    f"the process that answers for the owners of a command's files was ended by signal {number}",
                    code="supervisor-gone",
                    hint="most likely memory ran out: see the kernel's log",
                ),
            )
        os.kill(child.pid, signal.SIGKILL)


def _kill(children: dict[int, _Child], report: int, ending: signal.Signals) -> bool:
    for child in children.values():
        if child.report == report:
            # It is its pid namespace's init: all in there ends with it.
            os.kill(child.pid, ending)
            return True
    return False


def _end(children: dict[int, _Child], ending: signal.Signals) -> NoReturn:
    for child in children.values():
        os.kill(child.pid, ending)
    for child in children.values():
        os.waitpid(child.pid, 0)
    os._exit(0)


def _tell(report: int, error: BuilderError) -> None:
    with suppress(OSError):  # whoever asked is gone
        Sender(report).send(ERROR, error)
