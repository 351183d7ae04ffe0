"""Running commands, from any thread, several at once."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn, cast

from builder.errors import BuilderError, HostError, InternalError
from builder.sandbox import memory
from builder.sandbox.channel import ERROR, MESSAGE, RESULT, Receiver
from builder.sandbox.command import Command, ExitStatus
from builder.sandbox.signals import HELD, signals_held
from builder.sandbox.stubs import PutBack, Stub
from native import constants, syscalls

__all__ = ["Done", "Runner"]

Output = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended, and the mount points that were made for it, for ``clean_stubs``.

    put_back   where nothing can be mounted: paths below the root that were moved away meanwhile, and are there again
    """

    status: ExitStatus
    stubs: tuple[Stub, ...]
    put_back: tuple[bytes, ...] = ()


class Runner:
    """Runs commands in namespaces of their own. A context manager; to be made while the process has one thread.

    Leaving the context kills what still runs.

    jailed   no namespace is to be had: commands run in a copied tree (``jail``)
    """

    def __init__(self, *, jailed: bool = False) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._cancelled = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests = ours
        self._server = _fork_server(ours, theirs, jailed)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._requests.close()
        os.waitpid(self._server, 0)

    def cancel(self) -> None:
        """Kill all that runs; their ``run`` raises HostError, and so does every later one."""
        with self._lock:
            self._cancelled = True
            for wake in self._running:
                os.eventfd_write(wake, 1)

    def run(self, command: Command, *, output: Output, stdin: int | None = None) -> Done:
        """Run *command* to its end. When it returns or raises, no process of the command is left.

        output  receives (1 or 2, bytes) as they come, in this thread
        stdin   a descriptor; None: at end of file. Of a command with a terminal: the terminal, which is its stdout and
                stderr too (``terminal.attached`` makes one)
        raises  CommandFailed if there is no such program; DockerfileError if there is no such user; HostError if this
                machine refuses what it needs, or ``cancel`` was called; whatever *output* raises, the command killed
        """
        if command.terminal and stdin is None:
            raise InternalError("a command with a terminal needs one as its stdin", code="no-terminal")
        if command.network not in ("host", "none"):
            raise HostError(f"there is no network called {command.network} here", code="unknown-network")
        kills = memory.kills(command.group)
        with _Descriptors() as own, self._wake(own) as wake:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    source = own.keep(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) if stdin is None else stdin
                    out, err = (own.pipe(), own.pipe()) if not command.terminal else ((-1, source), (-1, source))
                    self._ask(command, (source, out[1], err[1], theirs.fileno()))
                streams = {} if command.terminal else {out[0]: 1, err[0]: 2}
                for _, writer in (out, err) if streams else ():
                    own.close(writer)
                conversation = _Conversation(output, streams, ours, wake)
                try:
                    status = conversation.follow()
                except BaseException:  # an interrupt, too, must leave no command running
                    conversation.end()
                    raise
        return Done(
            status=_exit_status(status, kills, command.group), stubs=conversation.stubs, put_back=conversation.put_back
        )

    @contextmanager
    def _wake(self, own: _Descriptors) -> Iterator[int]:
        """A descriptor that ``cancel`` makes readable."""
        wake = own.keep(os.eventfd(0, os.EFD_CLOEXEC))
        with self._lock:
            if self._cancelled:
                raise _cancelled()
            self._running.add(wake)
        try:
            yield wake
        finally:
            with self._lock:
                self._running.discard(wake)

    def _ask(self, command: Command, streams: tuple[int, int, int, int]) -> None:
        holder = os.memfd_create("command", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(holder), "wb") as file:
                pickle.dump(command, file, protocol=5)
            from builder.sandbox.server import NEW_NETWORK

            flags = NEW_NETWORK if command.network == "none" else 0
            socket.send_fds(self._requests, [bytes([flags])], [holder, *streams])
        except OSError as error:
            raise InternalError(f"the command server is gone: {error}", code="server-gone") from error
        finally:
            os.close(holder)


class _Descriptors:
    """Descriptors that close at the end, or before."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open:
            os.close(fd)

    def pipe(self) -> tuple[int, int]:
        """A pipe: its reader and its writer."""
        pair = os.pipe()
        self._open.update(pair)
        return pair

    def keep(self, fd: int) -> int:
        """*fd*, to be closed."""
        self._open.add(fd)
        return fd

    def close(self, fd: int) -> None:
        """Close *fd* now."""
        self._open.remove(fd)
        os.close(fd)


class _Conversation:
    """Reads what a command writes, and what the server reports of it."""

    def __init__(self, output: Output, streams: dict[int, int], report: socket.socket, wake: int) -> None:
        self.stubs: tuple[Stub, ...] = ()
        self.put_back: tuple[bytes, ...] = ()
        self._output = output
        self._streams = streams
        self._report = report
        self._wake = wake
        self._poll = select.poll()
        for fd in (*streams, report.fileno(), wake):
            self._poll.register(fd, select.POLLIN)

    def follow(self) -> int:
        """The wait status."""
        report = self._report.fileno()
        # Unbuffered: a frame that was read ahead would not wake the poll.
        with self._report.makefile("rb", buffering=0) as file:
            receiver = Receiver(file)
            while True:
                # A stream's last words come before the report of its end is acted on.
                for fd, _ in sorted(self._poll.poll(), key=lambda ready: ready[0] == report):
                    if fd == self._wake:
                        raise _cancelled()
                    if fd != report:
                        self._read(fd)
                        continue
                    status = self._told(receiver)
                    if status is not None:
                        self._rest()
                        return status

    def end(self) -> None:
        """Have the command killed, and wait until it is gone: its root may then be removed."""
        with suppress(OSError):  # the server is gone, and the command with it
            self._report.shutdown(socket.SHUT_WR)
            while self._report.recv(1 << 16):
                pass

    def _read(self, fd: int) -> bool:
        data = os.read(fd, 1 << 16)
        if data:
            self._output(self._streams[fd], data)
        else:
            self._poll.unregister(fd)
            del self._streams[fd]
        return bool(data)

    def _told(self, receiver: Receiver) -> int | None:
        frame = receiver.receive()
        if frame is None:
            raise InternalError("the command server ended", code="server-gone")
        kind, value = frame
        if kind == MESSAGE:
            if isinstance(value, PutBack):
                self.put_back = value.paths
            else:
                self.stubs = cast(tuple[Stub, ...], value)
            return None
        if kind == ERROR:
            raise cast(BuilderError, value)
        assert kind == RESULT
        return cast(int, value)

    def _rest(self) -> None:
        """What is still in the pipes. Nobody writes any more, but somebody beyond us may have been handed an end."""
        for fd in list(self._streams):
            os.set_blocking(fd, False)
            try:
                while self._read(fd):
                    pass
            except BlockingIOError:
                continue


def _fork_server(ours: socket.socket, theirs: socket.socket, jailed: bool) -> int:
    # Imported before the fork, not at our own import: a build that runs nothing does not pay for it.
    import builder.sandbox.server  # noqa: F401 - for the child

    if len(os.listdir("/proc/self/task")) != 1:
        raise InternalError("a Runner must be made while the process has one thread", code="runner-too-late")
    with signals_held():
        pid = os.fork()
        if pid == 0:
            _become_server(ours, theirs, jailed)
    theirs.close()
    return pid


def _become_server(ours: socket.socket, theirs: socket.socket, jailed: bool) -> NoReturn:
    from builder.sandbox.server import serve

    try:
        for number in HELD:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
        ours.close()
        serve(theirs, jailed=jailed)
    finally:
        os._exit(1)


def _exit_status(status: int, kills: memory.Kills, group: str) -> ExitStatus:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return ExitStatus(code=128 + number, signal=number, killed_in=memory.kills(group).since(kills))
    code = os.WEXITSTATUS(status)
    # A shell says 137 of its child that was killed; a compiler driver 1, and make 2.
    return ExitStatus(code=code, killed_in=memory.kills(group).since(kills) if code else "")


def _cancelled() -> HostError:
    return HostError("the command was cancelled", code="cancelled")
