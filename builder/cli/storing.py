"""What the commands that work on the store have in common: the store itself, progress, several arguments in a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.cli.diagnostics import Style, draw, of_system, trace
from builder.cli.environment import Surroundings, store_root, wants_colours
from builder.cli.options import Option, Parsed
from builder.errors import BuilderError
from builder.events import Emit
from builder.image.names import Platform
from builder.store.store import Store

FORMAT = Option(name="format", short="f", metavar="TEMPLATE", summary="A Go template, as in '{{.Id}}', or json")
PLATFORM = Option(name="platform", metavar="OS/ARCH", summary="Of an image of several platforms, this one")


def open_store(parsed: Parsed, world: Surroundings) -> Store:
    """The store that the command works on; StoreError."""
    return Store.open(Path(store_root(parsed.value("root"), world.environ)))


def platform(parsed: Parsed) -> Platform:
    """``--platform``, or this machine's."""
    machine = Platform.normalised("linux", os.uname().machine)
    given = parsed.value("platform")
    return Platform.parse(given, machine) if given else machine


def complain(error: BuilderError | OSError, parsed: Parsed, world: Surroundings) -> None:
    """Tell of *error* and go on."""
    shown = of_system(error) if isinstance(error, OSError) else error
    if parsed.flag("debug"):
        world.stderr.write(trace(error))
    world.stderr.write(draw(shown, Style(wants_colours(world.stderr, world.environ))))


def each(words: Iterable[str], do: Callable[[str], None], parsed: Parsed, world: Surroundings) -> int:
    """*do* for each of *words*; one that fails does not keep the others from it. 0, or 1 if one failed."""
    code = 0
    for word in words:
        try:
            do(word)
        except BrokenPipeError:
            raise
        except (BuilderError, OSError) as e:
            complain(e, parsed, world)
            code = 1
    return code


@contextmanager
def progress(world: Surroundings, *, quiet: bool = False) -> Iterator[Emit]:
    """Where events go while a command works: a display on stderr."""
    # Listings and renamings show no progress, and do not wait for its modules.
    from builder.cli.render import display, mode_of

    screen = display(mode_of("", quiet, world.stderr, world.environ), world.stderr, world.environ)
    try:
        yield screen.emit
    finally:
        screen.close()


def confirmed(question: str, world: Surroundings) -> bool:
    """Whether the user says yes to *question*, as Docker asks; no where nobody answers."""
    world.stdout.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < 100:
        data = os.read(world.stdin, 1)
        if not data:
            break
        answer += data
    return answer.strip().lower() in (b"y", b"yes")
