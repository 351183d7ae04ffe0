"""What each instruction makes of its arguments: one function per instruction, statement → typed value.

Source: BuildKit's ``instructions/parse.go``; its messages are kept where people may know them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from builder.dockerfile import instructions as typed
from builder.dockerfile import tokens
from builder.dockerfile.commands import cmd, entrypoint, healthcheck, run, shell
from builder.dockerfile.flags import read_flags
from builder.dockerfile.heredocs import is_marker, named
from builder.dockerfile.instructions import Heredoc, Instruction, Pair, Word
from builder.dockerfile.statement import Statement, nearest
from builder.dockerfile.tokens import Token
from builder.dockerfile.words import GO_SPACE

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")


def understand(statement: Statement) -> Instruction:
    """The typed instruction.

    raises  DockerfileError ``unknown-instruction``, or what the instruction finds wrong
    """
    function = _INSTRUCTIONS.get(statement.name)
    if not function:
        raise statement.mistake(
            f"unknown instruction: {statement.keyword.text}",
            code="unknown-instruction",
            hint=nearest(statement.name, _INSTRUCTIONS),
        )
    return function(statement)


def _from(statement: Statement) -> typed.From:
    args = statement.listed() if statement.args else []
    is_named = len(args) == 3 and args[1].text.lower() == "as"
    if len(args) != 1 and not is_named:
        raise statement.mistake(
            "FROM requires either one or three arguments",
            args[1] if len(args) > 1 else None,
            hint="FROM [--platform=PLATFORM] IMAGE [AS NAME]",
        )
    name = args[2].text.lower() if is_named else ""
    if is_named and not _STAGE_NAME.fullmatch(name):
        raise statement.mistake(
            f'invalid name for build stage: "{args[2].text}", name can\'t start with a number or contain symbols',
            args[2],
            code="bad-stage-name",
        )
    return typed.From(
        **statement.common(),
        image=statement.word(args[0]),
        platform=read_flags(statement).string("platform"),
        stage_name=name,
        stage_word=statement.word(args[2]) if is_named else None,
    )


def _at_least_one(statement: Statement) -> None:
    if not statement.args:
        raise statement.mistake(f"{statement.name} requires at least one argument")


def _exactly_one(statement: Statement) -> Word:
    if not statement.args:
        raise statement.mistake(f"{statement.name} requires exactly one argument")
    read_flags(statement)
    return statement.whole()


def _pair(statement: Statement, token: Token) -> Pair:
    key, equals, _ = token.text.partition("=")
    if equals and not key:
        raise statement.mistake(f"{statement.name} names can not be blank", token)
    middle = token.start + len(key)
    end = token.start + len(token.text)
    value = statement.line.word(middle + 1, end) if equals else None
    return Pair(key=statement.line.word(token.start, middle), value=value)


def _arg(statement: Statement) -> typed.Arg:
    _at_least_one(statement)
    read_flags(statement)
    found = tokens.words(statement.line.text, statement.start, statement.end, statement.escape)
    return typed.Arg(**statement.common(), pairs=tuple(_pair(statement, token) for token in found))


def _pairs(statement: Statement) -> tuple[tuple[Pair, ...], bool]:
    """``KEY=VALUE …``, or the old form ``KEY VALUE``, which is taken if the first word has no equals sign."""
    read_flags(statement)
    line = statement.line
    found = list(tokens.words(line.text, statement.start, statement.end, statement.escape))
    if not found:
        _at_least_one(statement)
        raise statement.mistake(f"{statement.name} requires at least one argument")
    if "=" not in found[0].text:
        parts = tokens.split_once(line.text, statement.start, statement.end)
        if not parts:
            hint = f"{statement.name} {found[0].text[:40]}=VALUE"
            raise statement.mistake(f"{statement.name} must have two arguments", found[0], hint=hint)
        return (Pair(key=statement.word(parts[0]), value=statement.word(parts[1])),), True
    for token in found:
        if "=" not in token.text:
            raise statement.mistake(
                f'Syntax error - can\'t find = in "{token.text[:80]}". Must be of the form: name=value',
                token,
                hint="put a value that holds spaces into double quotes",
            )
    return tuple(_pair(statement, token) for token in found), False


def _env(statement: Statement) -> typed.Env:
    pairs, legacy = _pairs(statement)
    return typed.Env(**statement.common(), pairs=pairs, legacy=legacy)


def _label(statement: Statement) -> typed.Label:
    pairs, legacy = _pairs(statement)
    return typed.Label(**statement.common(), pairs=pairs, legacy=legacy)


def _transfer(statement: Statement) -> tuple[tuple[Word, ...], tuple[Heredoc, ...], Word]:
    """Sources, here-documents and target of COPY and ADD."""
    args = statement.listed()
    if len(args) < 2:
        raise statement.mistake(
            f"{statement.name} requires at least two arguments, but only one was provided."
            " Destination could not be determined",
            hint=f"{statement.name} SOURCE... TARGET",
        )
    if is_marker(args[-1].text):
        raise statement.mistake(f"{statement.name} cannot accept a heredoc as a destination", args[-1])
    sources: list[Word] = []
    heredocs: list[Heredoc] = []
    for token in args[:-1]:
        word = statement.word(token)
        if marker := is_marker(token.text):
            heredocs.append(named(statement.heredocs, marker, word.span))
        else:
            sources.append(word)
    return tuple(sources), tuple(heredocs), statement.word(args[-1])


def _copy(statement: Statement) -> typed.Copy:
    sources, heredocs, target = _transfer(statement)
    flags = read_flags(statement)
    return typed.Copy(
        **statement.common(),
        sources=sources,
        heredocs=heredocs,
        target=target,
        source_stage=flags.string("from"),
        chown=flags.string("chown"),
        chmod=flags.string("chmod"),
        link=flags.truths.get("link"),
        parents=flags.truths.get("parents"),
        excludes=flags.list("exclude"),
    )


def _add(statement: Statement) -> typed.Add:
    sources, heredocs, target = _transfer(statement)
    flags = read_flags(statement)
    return typed.Add(
        **statement.common(),
        sources=sources,
        heredocs=heredocs,
        target=target,
        chown=flags.string("chown"),
        chmod=flags.string("chmod"),
        link=flags.truths.get("link"),
        excludes=flags.list("exclude"),
        checksum=flags.string("checksum"),
        keep_git_dir=flags.truths.get("keep-git-dir"),
        unpack=flags.truths.get("unpack"),
    )


def _workdir(statement: Statement) -> typed.Workdir:
    return typed.Workdir(**statement.common(), path=_exactly_one(statement))


def _user(statement: Statement) -> typed.User:
    return typed.User(**statement.common(), user=_exactly_one(statement))


def _stopsignal(statement: Statement) -> typed.StopSignal:
    return typed.StopSignal(**statement.common(), signal=_exactly_one(statement))


def _maintainer(statement: Statement) -> typed.Maintainer:
    return typed.Maintainer(**statement.common(), author=_exactly_one(statement))


def _expose(statement: Statement) -> typed.Expose:
    _at_least_one(statement)
    read_flags(statement)
    # BuildKit sorts them as written, before any is expanded.
    ports = sorted(statement.listed(), key=lambda token: token.text)
    return typed.Expose(**statement.common(), ports=tuple(map(statement.word, ports)))


def _volume(statement: Statement) -> typed.Volume:
    args = statement.listed() if statement.args else []
    if not args:
        raise statement.mistake("VOLUME requires at least one argument")
    read_flags(statement)
    paths = []
    for token in args:
        path = token.text.strip(GO_SPACE)
        if not path:
            raise statement.mistake("VOLUME specified can not be an empty string", token)
        paths.append(statement.word(Token(path, token.start, token.end)))
    return typed.Volume(**statement.common(), paths=tuple(paths))


_FORBIDDEN_TRIGGERS = frozenset({"FROM", "MAINTAINER"})
_ONBUILD = re.compile(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", re.IGNORECASE)


def trigger_of(statement: Statement) -> str:
    """The instruction that ONBUILD stores, as BuildKit stores it: with its flags, and its here-documents behind it."""
    text = _ONBUILD.sub("", statement.line.text, count=1)
    return text + "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in statement.heredocs)


def check_trigger(outer: Statement, inner: Statement) -> None:
    """Whether *inner* may stand behind the ONBUILD of *outer*.

    raises  DockerfileError ``bad-trigger``
    """
    read_flags(outer)
    _at_least_one(outer)
    if inner.name == "ONBUILD":
        message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
        raise inner.mistake(message, code="bad-trigger")
    if inner.name in _FORBIDDEN_TRIGGERS:
        raise inner.mistake(f"{inner.name} isn't allowed as an ONBUILD trigger", code="bad-trigger")


def _onbuild(statement: Statement) -> typed.Onbuild:
    """An ONBUILD alone; one with a trigger is put together by ``parse``, which reads its here-documents."""
    raise statement.mistake("ONBUILD requires at least one argument")


_INSTRUCTIONS: Mapping[str, Callable[[Statement], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": cmd,
    "COPY": _copy,
    "ENTRYPOINT": entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": run,
    "SHELL": shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
