"""The gate: a function called as root, in namespaces of its own.

Behind it code is written plainly: it mounts, makes files of any owner, and starts commands. Three processes take part::

    caller ── clone(2), all namespaces in one call ──> init ── fork ──> worker: runs the function

Init is the first process of the new pid namespace: it reaps what is orphaned and passes SIGTERM on, and with it the
kernel ends everything inside. It dies with its parent, so nothing outlives the caller, however that ends. Where there
are no namespaces init ends what is inside itself, process by process (``jail``).

source   user_namespaces(7); pid_namespaces(7), "The namespace init process"; bubblewrap, whose order this follows
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

from builder.errors import BuilderError, HostError, InternalError
from builder.sandbox import refusals
from builder.sandbox.channel import ERROR, INTERRUPTED, MESSAGE, RESULT, Receiver
from builder.sandbox.identity import Identity, bare, chrooted, find_program, identity
from builder.sandbox.init import WITHOUT_NAMESPACES, Send, begin, flush, inside
from builder.sandbox.signals import signals_held, sigterm_as_exception
from native import constants, syscalls

__all__ = ["Identity", "bare", "call", "chrooted", "identity", "inside"]

T = TypeVar("T")

GRACE = 5.0
"""Seconds between asking what is inside to end, and ending it."""


def call(function: Callable[[Send], T], *, identity: Identity, on_message: Callable[[object], None]) -> T:
    """What *function* returns, called as root in new mount and pid namespaces, and a user namespace as *identity* says.

    function    gets ``send``, which threads may share; messages, the result and errors must be picklable
    on_message  is called in this thread with each message, in order
    raises      BuilderError as raised inside; InternalError, with the traceback as its note, for any other exception;
                HostError if this machine refuses; KeyboardInterrupt when interrupted, everything inside having ended
    """
    if inside():
        raise InternalError("the gate is entered twice", code="gate-entered-twice")
    with sigterm_as_exception():
        process = _start(function, identity)
        try:
            _map_ids(process.pid, identity)
            process.let_go()
            return cast(T, process.listen(on_message))
        except BaseException:  # whatever ends the conversation, an interrupt or a broken pipe, ends what is inside
            process.end()
            raise
        finally:
            process.close()


class _Process:
    """Init, seen from the caller.

    pid    of init; ``waits`` is the same, or the process between that cloned it
    """

    def __init__(self, pid: int, waits: int, go: int, messages: int) -> None:
        self.pid = pid
        self._waits: int | None = waits
        self._go: int | None = go
        self._receiver = Receiver(os.fdopen(messages, "rb"))

    def let_go(self) -> None:
        """Tell init that its ids are mapped."""
        assert self._go is not None
        os.write(self._go, b"g")
        self._close_go()

    def _close_go(self) -> None:
        if self._go is not None:
            os.close(self._go)
            self._go = None

    def listen(self, on_message: Callable[[object], None]) -> object:
        """The result, or the error raised."""
        while (frame := self._receiver.receive()) is not None:
            kind, value = frame
            if kind == MESSAGE:
                on_message(value)
                continue
            self._wait()
            if kind == RESULT:
                return value
            if kind == INTERRUPTED:
                raise KeyboardInterrupt
            assert kind == ERROR
            raise cast(BuilderError, value)
        raise _gone(self._wait())

    def end(self) -> None:
        """Ask what is inside to end; after ``GRACE`` seconds, or a second interrupt, end it."""
        if self._waits is None:
            return
        try:
            if self._go is None:
                os.kill(self.pid, signal.SIGTERM)
                self._drain()
        finally:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    def close(self) -> None:
        """Close our ends."""
        self._close_go()
        self._receiver.file.close()

    def _drain(self) -> None:
        """Read and drop what is still sent, so that nobody inside waits for us, until they are gone."""
        import select
        import time

        poll = select.poll()
        poll.register(self._receiver.file, select.POLLIN)
        until = time.monotonic() + GRACE
        while (left := until - time.monotonic()) > 0:
            if poll.poll(left * 1000) and not os.read(self._receiver.file.fileno(), 1 << 16):
                return

    def _wait(self) -> int:
        assert self._waits is not None
        _, status = os.waitpid(self._waits, 0)
        self._waits = None
        return os.waitstatus_to_exitcode(status)


def _gone(code: int) -> BuilderError:
    if code == -signal.SIGKILL or code == 128 + signal.SIGKILL:
        return HostError(
            "the build was killed from outside",
            code="killed",
            hint="most often memory ran out: give the build more",
        )
    return InternalError(f"the process behind the gate ended without a word (exit code {code})", code="gate-lost")


def _start(function: Callable[[Send], T], who: Identity) -> _Process:
    flags = 0 if who.kind in WITHOUT_NAMESPACES else constants.CLONE_NEWNS | constants.CLONE_NEWPID
    if who.kind not in ("root", *WITHOUT_NAMESPACES):
        flags |= constants.CLONE_NEWUSER
    go_read, go_write = os.pipe()
    messages_read, messages_write = os.pipe()
    # What is buffered would be written twice.
    flush()
    try:
        with signals_held():
            pid, waits = _clone(flags, lambda: begin(function, who, go_read, go_write, messages_read, messages_write))
    except OSError as error:
        for fd in (go_write, messages_read):
            os.close(fd)
        raise refusals.clone_refused(error, who) from None
    finally:
        os.close(go_read)
        os.close(messages_write)
    return _Process(pid, waits, go_write, messages_read)


def _clone(flags: int, body: Callable[[], NoReturn]) -> tuple[int, int]:
    """The new process's id, and that of the child to wait for; *body* runs in the new process."""
    if len(os.listdir("/proc/self/task")) == 1:
        pid = syscalls.clone(flags)
        if pid == 0:
            body()
        return pid, pid
    # The bare call copies a heap that another thread may have locked. fork(3) takes the heap's locks first, and its
    # child has one thread; so the child clones, says whom, and stays to die with us and pass the exit status on. It
    # holds the signals all the while, for a terminal's Ctrl-C reaches it too.
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        _between(flags, body, read, write)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    pid = int(said or b"-1")
    if pid <= 0:
        os.waitpid(between, 0)
        raise OSError(-pid, os.strerror(-pid))
    return pid, between


def _between(flags: int, body: Callable[[], NoReturn], read: int, write: int) -> NoReturn:
    try:
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(read)
        try:
            pid = syscalls.clone(flags)
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            os.close(write)
            body()
        os.write(write, b"%d" % pid)
        # The caller's messages end when all writers have closed, and this one writes none.
        os.closerange(0, 1 << 16)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid > 0 else 1
        os._exit(code if code >= 0 else 128 - code)
    finally:
        os._exit(1)


def _map_ids(pid: int, who: Identity) -> None:
    if who.kind in ("own", "single"):
        try:
            if who.kind == "single":
                # user_namespaces(7), "The /proc/pid/setgroups file": else an ordinary user may map no group
                with open(f"/proc/{pid}/setgroups", "wb", buffering=0) as switch:
                    switch.write(b"deny")
            for name, ranges in (("uid_map", who.uids), ("gid_map", who.gids)):
                with open(f"/proc/{pid}/{name}", "wb", buffering=0) as table:
                    table.write("\n".join(map(str, ranges)).encode())
        except OSError as error:
            raise refusals.map_refused(error) from None
    elif who.kind == "subid":
        started = []
        for name, ranges in (("newuidmap", who.uids), ("newgidmap", who.gids)):
            words = [str(pid), *(word for part in ranges for word in str(part).split())]
            started.append((name, *_spawn(name, words)))
        results = [(name, *_finish(child, stderr)) for name, child, stderr in started]
        for name, code, text in results:
            if code != 0:
                raise refusals.newuidmap_failed(name, text)


def _spawn(name: str, words: list[str]) -> tuple[int, int]:
    program = find_program(name)
    if program is None:
        raise refusals.newuidmap_failed(name, "not found")
    read, write = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write, 2)]
        return os.posix_spawn(program, [name, *words], dict(os.environ), file_actions=actions), read
    except OSError as error:
        os.close(read)
        raise refusals.newuidmap_failed(name, error.strerror or "it cannot be started") from None
    finally:
        os.close(write)


def _finish(child: int, stderr: int) -> tuple[int, str]:
    with os.fdopen(stderr, "rb") as file:
        text = file.read(1 << 16)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text.decode(errors="replace")
