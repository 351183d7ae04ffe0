"""The server: a small process with one thread that clones a child for each command.

A process with threads must not be copied: a lock that another thread holds is held in the copy for ever. So the runner
forks this one while the builder still has one thread, and asks it. A request is one byte, of flags, with five
descriptors: the pickled command (a memfd), stdin, stdout, stderr, and the report, a socket. Over that come frames
(``channel``): the stubs; an error, if the command did not start; and at the end the wait status, all but the last from
the child. It closes when the child is gone. When the other end shuts its writing down, or closes, the command is
killed. When the requests' socket closes, all are, and the server ends.
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
from builder.sandbox.channel import ERROR, MESSAGE, RESULT, Sender, as_internal
from builder.sandbox.command import Command

# All that a child needs is imported before it switches its root, where no module is found any more.
from builder.sandbox.enter import enter
from native import constants, syscalls

NEW_NETWORK = 1
_DESCRIPTORS = 5
_NAMESPACES = constants.CLONE_NEWNS | constants.CLONE_NEWPID | constants.CLONE_NEWIPC | constants.CLONE_NEWUTS


@dataclass(slots=True)
class _Child:
    pid: int
    report: int


def serve(requests: socket.socket) -> NoReturn:
    """Serve until the other end closes. Does not return; runs in a process of its own."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, _Child] = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == requests.fileno():
                child = _accept(requests)
                if child is None:
                    _end(children)
                elif child.pid:
                    children[child.pid] = child
                    # Nothing is ever read from it: it becomes readable when the other end is shut down.
                    poll.register(child.report, select.POLLIN)
            elif fd == wake_read:
                os.read(wake_read, 4096)
                for child in _reap(children):
                    with suppress(KeyError):  # killed, so that nothing more is awaited from there
                        poll.unregister(child.report)
                    os.close(child.report)
            elif _kill(children, fd):
                poll.unregister(fd)


def _accept(requests: socket.socket) -> _Child | None:
    """A command's child, None if nobody asks any more; its pid is 0 if it could not be cloned."""
    flags, descriptors = _receive(requests)
    if not descriptors:
        return None
    command, *streams, report = descriptors
    try:
        pid = syscalls.clone(_NAMESPACES | (constants.CLONE_NEWNET if flags & NEW_NETWORK else 0))
        if pid == 0:
            _child(command, streams, report)
        return _Child(pid=pid, report=report)
    except OSError as error:
        _tell(report, HostError(f"no namespaces for a command: {error.strerror}", code="namespaces-refused"))
        os.close(report)
        return _Child(pid=0, report=-1)
    finally:
        for fd in (command, *streams):
            os.close(fd)


def _receive(requests: socket.socket) -> tuple[int, list[int]]:
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_DESCRIPTORS * descriptors.itemsize)
    data, ancillary, _, _ = requests.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload)
    return data[0] if data else 0, list(descriptors)


def _child(command: int, streams: list[int], report: int) -> NoReturn:
    """The process between clone and exec; whatever fails in it is told, none of it is lost."""
    sender = Sender(report)
    try:
        signal.set_wakeup_fd(-1)
        with os.fdopen(os.dup(command), "rb") as file:
            file.seek(0)
            value = pickle.load(file)
        assert isinstance(value, Command)
        for fd, stream in enumerate(streams):
            os.dup2(stream, fd)
        _close_others(report)
        enter(value, lambda stubs: sender.send(MESSAGE, stubs))
    except BuilderError as error:
        sender.send(ERROR, error)
    except BaseException as error:  # the last line of a process: whatever it is must be told
        sender.send(ERROR, as_internal(error))
    finally:
        os._exit(125)


def _close_others(report: int) -> None:
    """Close all but the streams and the report, whoever left them open before us."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != report:
            with suppress(OSError):  # the folder's own descriptor is among them
                os.close(int(name))


def _reap(children: dict[int, _Child]) -> list[_Child]:
    """Children that ended, their status told."""
    ended = []
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        child = children.pop(pid)
        with suppress(OSError):  # whoever asked is gone
            Sender(child.report).send(RESULT, status)
        ended.append(child)
    return ended


def _kill(children: dict[int, _Child], report: int) -> bool:
    for child in children.values():
        if child.report == report:
            # It is its pid namespace's init: all in there ends with it.
            os.kill(child.pid, signal.SIGKILL)
            return True
    return False


def _end(children: dict[int, _Child]) -> NoReturn:
    for child in children.values():
        os.kill(child.pid, signal.SIGKILL)
    for child in children.values():
        os.waitpid(child.pid, 0)
    os._exit(0)


def _tell(report: int, error: BuilderError) -> None:
    with suppress(OSError):  # whoever asked is gone
        Sender(report).send(ERROR, error)
