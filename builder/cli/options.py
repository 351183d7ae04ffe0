"""Options as a table, and the words of a command line read by it.

Docker's rules: ``--name value``, ``--name=value``, ``-n value``, ``-nvalue``, ``-n=value``, flags joined (``-qt app``),
options and arguments in any order, ``--`` ends the options. Of an option that holds one value the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from builder.errors import UsageError

# source: Go's strconv.ParseBool, by which Docker reads the values of its flags
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True)
_BOOLEANS |= dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a command.

    kind      ``flag`` (takes no value, or ``=true|false``), ``value`` (the last one counts) or ``list`` (repeatable)
    short     one letter, or ""
    metavar   what the value is, and group where the option stands, in ``--help``
    choices   the values allowed; none: any
    hidden    not shown in ``--help``
    refused   why the option cannot be honoured, for one that is known and not supported; refused_hint: what to do
    """

    name: str
    kind: str = "value"
    short: str = ""
    metavar: str = "TEXT"
    summary: str = ""
    group: str = "Options"
    choices: tuple[str, ...] = ()
    hidden: bool = False
    refused: str = ""
    refused_hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A command line as it was written: values by option name, and the arguments that are no options."""

    command: str
    flags: Mapping[str, bool] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def flag(self, name: str) -> bool:
        """Whether the flag is set."""
        return self.flags.get(name, False)

    def value(self, name: str, default: str = "") -> str:
        """The last value given, or *default*."""
        values = self.lists.get(name)
        return values[-1] if values else default

    def many(self, name: str) -> tuple[str, ...]:
        """All values given, in order; empty ones left out, as Docker does."""
        return tuple(value for value in self.lists.get(name, ()) if value)

    def given(self, name: str) -> bool:
        """Whether the option was written at all."""
        return name in self.lists or name in self.flags


def parse(command: str, options: Sequence[Option], words: Sequence[str], *, interspersed: bool = True) -> Parsed:
    """*words* read by the table *options*; *command* is the command's name, for the hints.

    interspersed  False: behind the first argument all are arguments
    raises   UsageError: unknown-flag, missing-value, invalid-value, unsupported-flag
    """
    reader = _Reader(command, options, words)
    while reader.rest:
        word = reader.rest.pop()
        if word == "--":
            reader.arguments.extend(reversed(reader.rest))
            break
        if word.startswith("--"):
            reader.long(word)
        elif word.startswith("-") and word != "-":
            reader.short(word)
        else:
            reader.arguments.append(word)
            if not interspersed:
                reader.arguments.extend(reversed(reader.rest))
                break
    lists = {name: tuple(values) for name, values in reader.lists.items()}
    return Parsed(command=command, flags=reader.flags, lists=lists, arguments=tuple(reader.arguments))


def boolean(text: str) -> bool | None:
    """What *text* says as Docker reads truth, or None."""
    return _BOOLEANS.get(text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of *known* that *word* was probably meant to be."""
    # Only a mistake needs it, and it takes longer to import than all the rest here.
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


class _Reader:
    """The state of one reading: ``rest`` is what is still to be read, the next word last."""

    def __init__(self, command: str, options: Sequence[Option], words: Sequence[str]) -> None:
        self.command = command
        self.by_name = {option.name: option for option in options}
        # The first of a letter counts: a command's own options come before those of all commands.
        self.by_short = {option.short: option for option in reversed(options) if option.short}
        self.rest = list(reversed(words))
        self.flags: dict[str, bool] = {}
        self.lists: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        option = self.by_name.get(name)
        if option is None:
            near = nearest(name, (o.name for o in self.by_name.values() if not o.hidden and not o.refused))
            raise self.error(
                f"unknown flag: --{name}", "unknown-flag", f"did you mean --{near}?" if near else self.see_help()
            )
        self.take(option, f"--{name}", value if equals else None)

    def short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self.by_short.get(letter)
            if option is None:
                raise self.error(f"unknown shorthand flag: {letter!r} in {word}", "unknown-flag", self.see_help())
            if option.kind == "flag" and not letters.startswith("="):
                self.take(option, f"-{letter}", None)
                continue
            self.take(option, f"-{letter}", letters.removeprefix("=") if letters else None)
            return

    def take(self, option: Option, written: str, value: str | None) -> None:
        if option.refused:
            raise self.error(f"{written} is not supported: {option.refused}", "unsupported-flag", option.refused_hint)
        if option.kind == "flag":
            known = True if value is None else boolean(value)
            if known is None:
                raise self.error(
                    f"invalid value for {written}: {value!r}", "invalid-value", "a flag is set by =true or =false"
                )
            self.flags[option.name] = known
            return
        if value is None:
            if not self.rest:
                raise self.error(f"flag needs an argument: {written}", "missing-value", self.see_help())
            value = self.rest.pop()
        if option.choices and value not in option.choices:
            raise self.error(
                f"invalid value for {written}: {value!r}", "invalid-value", "one of " + ", ".join(option.choices)
            )
        self.lists.setdefault(option.name, []).append(value)

    def see_help(self) -> str:
        return f"see 'pybuild {self.command} --help'"

    def error(self, message: str, code: str, hint: str | None) -> UsageError:
        return UsageError(message, code=code, hint=hint)
