"""The inner side of the gate: the first process there, and the worker.

What runs here was the caller a moment ago: the code is the same, the descriptors are, and so are the handlers of
signals, which are held until this side has its own.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from builder.errors import BuilderError, HostError
from builder.sandbox import orphans, refusals
from builder.sandbox.channel import ERROR, INTERRUPTED, MESSAGE, RESULT, Sender, as_internal
from builder.sandbox.identity import Identity
from builder.sandbox.signals import HELD
from builder.sandbox.unexpected import MENDS
from native import constants, syscalls

Send = Callable[[object], None]

WITHOUT_NAMESPACES = ("bare", "chroot")
"""Kinds of identities."""

GRACE = 3.0
"""Seconds that those have who look after a command, once nobody awaits it any more, to end it and to tidy up."""

_AWAITED = (signal.SIGTERM, signal.SIGCHLD)
_behind = False


def inside() -> bool:
    """Whether this process is behind the gate."""
    return _behind


def begin(
    function: Callable[[Send], object],
    who: Identity,
    go_read: int,
    go_write: int,
    messages_read: int,
    messages_write: int,
) -> NoReturn:
    """The first process inside: become root, fork the worker, reap."""
    global _behind
    _behind = True
    sender = Sender(messages_write)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A terminal's Ctrl-C goes to a whole process group: only the caller decides what it means.
        os.setpgid(0, 0)
        os.close(go_write)
        os.close(messages_read)
        if os.read(go_read, 1) != b"g":
            os._exit(1)
        os.close(go_read)
        _become_root(who)
        # After the change of ids, which clears it. prctl(2), PR_SET_PDEATHSIG
        jailed = who.kind == "chroot"
        # Without a pid namespace nobody ends what is inside with us: init lives on until it has done so itself.
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGTERM if jailed else signal.SIGKILL)
        _exit_if_alone(messages_write)
        if jailed:
            orphans.adopt()
        if who.kind not in WITHOUT_NAMESPACES:
            _separate_mounts()
        # SIGTERM is held since before the clone: one that comes now reaches the worker once there is one.
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        worker = os.fork()
        if worker == 0:
            _work(function, sender)
        os.close(messages_write)
        _reap(worker, os.getppid() if jailed else 0)
    except BuilderError as error:
        sender.send(ERROR, error)
    except OSError as error:
        hint = MENDS.get(error.errno or 0)
        what = error.strerror or str(error)
        sender.send(ERROR, HostError(f"the namespaces cannot be entered: {what}", code="gate-failed", hint=hint))
    finally:
        os._exit(1)


def _separate_mounts() -> None:
    try:
        # Nothing that is mounted from here on is seen outside.
        syscalls.mount("", "/", "", constants.MS_REC | constants.MS_PRIVATE)
    except OSError as error:
        raise refusals.mount_refused(error) from None


def _become_root(who: Identity) -> None:
    if who.kind not in ("root", *WITHOUT_NAMESPACES):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        if who.kind != "single":  # there it is denied, for ever
            os.setgroups([])
    os.umask(0o022)


def _exit_if_alone(messages: int) -> None:
    """End if the caller died before our death was tied to its: its end of the pipe is closed then."""
    poll = select.poll()
    poll.register(messages, 0)
    if poll.poll(0):
        os._exit(1)


def _reap(worker: int, caller: int) -> NoReturn:
    """Reap all, pass SIGTERM on, end with the worker.

    caller  0; or our parent's id, where all that is inside is to be ended by us, at the latest with the caller

    Signals are waited for, not handled: one that comes between Python's last look and a blocking call is seen too late.
    """
    while True:
        if signal.sigwait(_AWAITED) == signal.SIGTERM:
            if caller and os.getppid() != caller:
                os.kill(worker, signal.SIGKILL)
            os.kill(worker, signal.SIGTERM)
            continue
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == worker:
                code = os.waitstatus_to_exitcode(status)
                if caller:
                    orphans.end(GRACE)
                os._exit(code if code >= 0 else 128 - code)


def _work(function: Callable[[Send], object], sender: Sender) -> NoReturn:
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*HELD, *_AWAITED))
        syscalls.prctl(constants.PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            sender.send(RESULT, function(lambda value: sender.send(MESSAGE, value)))
        except BuilderError as error:
            sender.send(ERROR, error)
        except KeyboardInterrupt:
            sender.send(INTERRUPTED, None)
        except BaseException as error:  # the last line of a process: whatever it is must be told
            sender.send(ERROR, as_internal(error))
        flush()
        os._exit(0)
    finally:
        os._exit(1)


def flush() -> None:
    """Write out what this process's own streams hold. A stream that was closed from the beginning is None."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
