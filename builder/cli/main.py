"""The entry: which command is meant, and what its end means to the shell.

Exit codes: 0 done, 1 the build or the command failed, 2 the command line is wrong, 130 and 143 ended by Ctrl-C and by
SIGTERM.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import NoReturn

from builder.cli import common
from builder.cli.commands import COMMANDS, find, load
from builder.cli.diagnostics import Style, draw, of_system, trace
from builder.cli.environment import Surroundings, wants_colours
from builder.cli.options import Parsed, nearest, parse
from builder.errors import BuilderError, UsageError


def entry() -> NoReturn:
    """Run the command line of this process, and end it."""
    sys.excepthook = _report
    _hold_streams()
    _insist_on_utf8()
    # Whoever started us may ignore its children's ends, or hold the signal; ours would be reaped before we ask how they
    # ended, or never tell. execve(2), "ignored signals"; wait(2), "ECHILD"
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))
    signal.signal(signal.SIGTERM, _terminated)
    code = main(sys.argv[1:], Surroundings.of_process())
    # What is left goes with the process: the interpreter need not search it for circles when it ends. It took a
    # twelfth of a cached build. Nothing waits for a finalizer here: effects are context managers.
    gc.freeze()
    sys.exit(code)


def _hold_streams() -> None:
    """Let nobody who closed stdin, stdout or stderr have us open our own files in their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest descriptor that is free


def _insist_on_utf8() -> None:
    """Begin anew where names of files would be encoded as an old locale says: a Dockerfile's are UTF-8.

    source   PEP 540, "UTF-8 Mode", which is the interpreter's own choice in the locale C, and not in Latin-1
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def main(words: Sequence[str], world: Surroundings) -> int:
    """Run the command that *words* say; the exit code."""
    try:
        return _run(list(words), world)
    except BuilderError as e:
        _complain(e, words, world)
        return 2 if isinstance(e, UsageError) else 1
    except BrokenPipeError:
        # Whoever read our results has gone, and knows.
        return 1
    except OSError as e:
        _complain(of_system(e), words, world)
        return 1
    except KeyboardInterrupt:
        world.stderr.write("interrupted\n")
        return 130


def _run(words: list[str], world: Surroundings) -> int:
    before, rest = _split(words)
    if "--version" in before or "-v" in before:
        world.stdout.write(f"pybuild {_version()}\n")
        return 0
    if not rest:
        return load("help").run(Parsed(command="help"), world)
    found = find(rest)
    if found is None:
        _check_word(rest[0])
    name, count = found or ("build", 0)
    command = load(name)
    words = [*before, *rest[count:]]
    parsed = parse(name, (*command.options, *common.OPTIONS), words, interspersed=command.interspersed)
    if parsed.flag("help"):
        return load("help").run(Parsed(command="help", arguments=(name,)), world)
    least, most = command.arguments
    if len(parsed.arguments) < least or (most is not None and len(parsed.arguments) > most):
        raise _wrong_count(parsed, least, most)
    return command.run(parsed, world)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The common options that *words* begin with, and what follows them."""
    end = 0
    while end < len(words):
        if words[end] == "--root":
            end += 2
        elif words[end].startswith("--root=") or words[end] in ("-D", "--debug", "-h", "--help", "-v", "--version"):
            end += 1
        else:
            break
    return words[:end], words[end:]


def _check_word(word: str) -> None:
    """Where a word stands that is no command, it is a context; raise UsageError if it cannot be one either."""
    if re.fullmatch(r"[a-z]+(?:-[a-z]+)*", word) and not os.path.exists(word):
        near = nearest(word, COMMANDS)
        raise UsageError(
            f"{word!r} is neither a command nor a folder",
            code="unknown-command",
            hint=f"did you mean {near}?" if near else "'pybuild --help' lists the commands",
        )


def _wrong_count(parsed: Parsed, least: int, most: int | None) -> UsageError:
    wanted = f"at least {least}" if most is None else str(least) if least == most else f"{least} to {most}"
    plural = "" if wanted == "1" else "s"
    given = f": {', '.join(repr(word) for word in parsed.arguments[:5])}" if parsed.arguments else ""
    hint = f"see 'pybuild {parsed.command} --help'"
    if parsed.command == "build" and not parsed.arguments:
        hint = "name the build context, for instance the current folder: pybuild build ."
    return UsageError(
        f"{parsed.command} takes {wanted} argument{plural}, not {len(parsed.arguments)}{given}",
        code="wrong-arguments",
        hint=hint,
    )


def _version() -> str:
    # Reads a file of the installation, which only this needs.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pybuild")
    except PackageNotFoundError:
        return "(a copy that is not installed)"


def _complain(error: BuilderError, words: Sequence[str], world: Surroundings) -> None:
    debug = "--debug" in words or "-D" in words
    style = Style(wants_colours(world.stderr, world.environ))
    world.stderr.write((trace(error) if debug else "") + draw(error, style))


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    # Unwinds like an error, so that all that is begun is ended; 128 + N is the shell's way to say which signal it was.
    raise SystemExit(128 + number)


def _report(_kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """Last of all: an exception that nobody expected. The interpreter exits with 1."""
    world = Surroundings.of_process()
    from builder.sandbox.unexpected import told

    mistake = told(error)
    mistake.__cause__ = error
    _complain(mistake, sys.argv, world)
