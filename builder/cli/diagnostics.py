"""Errors as text."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from builder.cli.text import harmless
from builder.errors import BuilderError, CommandFailed, HostError, InternalError


class Style:
    """Colours for a terminal, or none."""

    def __init__(self, colours: bool) -> None:
        self.colours = colours

    def paint(self, text: str, code: str) -> str:
        """*text* in the rendition *code* (ECMA-48, SGR), if colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text

    def red(self, text: str) -> str:
        """An error."""
        return self.paint(text, "31;1")

    def yellow(self, text: str) -> str:
        """A warning."""
        return self.paint(text, "33")

    def blue(self, text: str) -> str:
        """What was done."""
        return self.paint(text, "34")

    def faint(self, text: str) -> str:
        """Of less weight."""
        return self.paint(text, "2")

    def bold(self, text: str) -> str:
        """Of more weight."""
        return self.paint(text, "1")


PLAIN = Style(False)


def draw(error: BuilderError, style: Style = PLAIN, *, title: str = "", tail: Sequence[str] = ()) -> str:
    """*error* and all that came with it, with a final newline::

        error[unknown-stage]: no stage is called "biulder"
          Dockerfile:7
            COPY --from=biulder /out /usr/bin/
                        ^^^^^^^
        hint: stages before this line: builder, assets

    title, tail   the step that failed and its last output, shown before a CommandFailed
    """
    parts = []
    if isinstance(error, CommandFailed) and tail:
        parts.append(_output(title, tail, style))
    parts += [_one(each, style) for each in (error, *_others(error))]
    return "".join(parts)


def trace(error: BaseException) -> str:
    """Where in the program *error* arose, as Python tells it."""
    # For --debug alone.
    from traceback import format_exception

    return "".join(format_exception(error))


def of_system(error: OSError) -> HostError:
    """An error of the system that no room had anything to add to."""
    if error.errno == errno.ENOENT and error.filename is None:
        # getcwd(2) alone names no file.
        return HostError(
            "the working folder is gone", code="no-working-folder", hint="change to a folder that is there: cd"
        )
    # Only what fails pays for this import.
    from builder.sandbox import unexpected

    return unexpected.of_system(error)


def _others(error: BuilderError) -> list[BuilderError]:
    """All errors found beside *error*, each once, those that came with them included."""
    found: list[BuilderError] = []
    waiting = list(reversed(error.also))
    while waiting:
        one = waiting.pop()
        if one is not error and one not in found:
            found.append(one)
            waiting.extend(reversed(one.also))
    return found


def _one(error: BuilderError, style: Style) -> str:
    message = error.message
    if isinstance(error, CommandFailed) and f"exit code: {error.exit_code}" not in message:
        message += f": exit code: {error.exit_code}"
    lines = [f"{style.red(f'error[{error.code}]')}: {style.bold(shown(message))}"]
    if error.where is not None:
        lines += [f"  {shown(line)}" for line in error.where.describe().splitlines()]
    hint = error.hint
    if hint is None and isinstance(error, InternalError):
        hint = "this is a mistake of pybuild: please report it, with what --debug shows"
    if hint:
        lines.append(f"{style.blue('hint')}: {shown(hint)}")
    return "\n".join(lines) + "\n"


def shown(text: str) -> str:
    """*text* made harmless, line by line; tabs stay, since a caret may stand below."""
    return "\t".join("\n".join(harmless(line) for line in part.split("\n")) for part in text.split("\t"))


def _output(title: str, tail: Sequence[str], style: Style) -> str:
    head = f"last output of {shown(title)}:" if title else "last output:"
    return "".join(f"{line}\n" for line in (style.bold(head), *(f"  {style.faint('|')} {line}" for line in tail)))
