"""``--help``: what a command does, its options and examples, made from the tables that it is read by."""

from __future__ import annotations

from collections.abc import Iterable

from builder.cli.commands import COMMANDS, Command
from builder.cli.common import OPTIONS
from builder.cli.options import Option

COLUMNS = 100
"""Width of a help text: as wide as most terminals, and no wider than one reads."""

INDENT = 30
"""Where the summaries of options begin."""


def of_all() -> str:
    """The help of ``pybuild`` itself."""
    commands = "\n".join(f"  {name:<12}{entry.summary}" for name, entry in COMMANDS.items() if not entry.hidden)
    return (
        "Usage:  pybuild [build] [OPTIONS] CONTEXT\n"
        "        pybuild COMMAND [OPTIONS]\n\n"
        "Container images from Dockerfiles, without a daemon and without root.\n\n"
        f"Commands:\n{commands}\n\n"
        f"{_groups(OPTIONS)}\n"
        f"{_option(Option(name='version', short='v', kind='flag', summary='Show the version'))}\n\n"
        "Examples:\n"
        "  pybuild .                     # build ./Dockerfile, and write a tarball for docker load\n"
        "  pybuild -t me/app:1 --push .  # build it, and push it\n\n"
        "'pybuild COMMAND --help' tells more of a command.\n"
    )


def of_command(command: Command) -> str:
    """The help of one command."""
    shown = [option for option in (*command.options, *OPTIONS) if not option.hidden and not option.refused]
    refused = [f"--{option.name}" for option in command.options if option.refused and not option.hidden]
    parts = [f"Usage:  pybuild {command.usage}", _wrapped(command.description, 0), _groups(shown)]
    if refused:
        parts.append("Known, but not supported:\n" + _wrapped(", ".join(refused), 2))
    parts.append("Examples:\n" + "\n".join(f"  {line}" for line in command.examples))
    return "\n\n".join(parts) + "\n"


def _groups(options: Iterable[Option]) -> str:
    groups: dict[str, list[str]] = {}
    for option in options:
        groups.setdefault(option.group, []).append(_option(option))
    return "\n\n".join(f"{name}:\n" + "\n".join(rows) for name, rows in groups.items())


def _option(option: Option) -> str:
    short = f"-{option.short}, " if option.short else "    "
    value = "" if option.kind == "flag" else f" {option.metavar}"
    head = f"  {short}--{option.name}{value}"
    summary = option.summary
    if option.choices:
        summary += f": {', '.join(option.choices)}"
    if option.kind == "list":
        summary += " (repeatable)"
    body = _wrapped(summary, INDENT)
    return f"{head}\n{body}" if len(head) > INDENT - 2 else head + body[len(head) :]


def _wrapped(text: str, indent: int) -> str:
    # For help only, which nobody waits for.
    from textwrap import fill

    pad = " " * indent
    return fill(text, COLUMNS, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)
