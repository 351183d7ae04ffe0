"""The instructions that hold a command: RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK.

Source: BuildKit's ``instructions/parse.go`` (``parseShellDependentCommand``, ``parseHealthcheck``).
"""

from __future__ import annotations

from builder.dockerfile import instructions as typed
from builder.dockerfile import numbers, tokens
from builder.dockerfile.fields import check_device, mount_flag
from builder.dockerfile.flags import Flags, read_flags
from builder.dockerfile.instructions import Word
from builder.dockerfile.statement import Statement, nearest, read_strings
from builder.dockerfile.tokens import Token
from builder.errors import DockerfileError

_MILLISECOND = 1_000_000
_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")


def _words(statement: Statement) -> tuple[Word, ...]:
    if statement.strings is None:
        return (statement.whole(),)
    return tuple(statement.word(token, literal=True) for token in statement.strings)


def run(statement: Statement) -> typed.Run:
    """RUN. Its command line must be UTF-8: BuildKit's protocol has no other, and it is no place for a U+FFFD."""
    flags = read_flags(statement)
    if statement.line.damaged and statement.strings is None and "\ufffd" in statement.args:
        at = statement.line.text.index("\ufffd", statement.start)
        raise statement.mistake(
            "the command holds bytes that are not UTF-8", Token("", at, at + 1), code="invalid-utf8"
        )
    network, security = flags.strings.get("network"), flags.strings.get("security")
    if network and network.text not in _NETWORKS:
        raise _not_one_of(f'invalid network mode "{network.text}"', network, _NETWORKS)
    if security and security.text not in _SECURITIES:
        raise _not_one_of(f'security "{security.text}" is not valid', security, _SECURITIES)
    for device in flags.list("device"):
        check_device(device)
    return typed.Run(
        **statement.common(),
        words=_words(statement),
        shell_form=statement.strings is None,
        mounts=tuple(map(mount_flag, flags.list("mount"))),
        network=network,
        security=security,
        devices=flags.list("device"),
        heredocs=statement.heredocs,
    )


def _not_one_of(message: str, word: Word, choices: tuple[str, ...]) -> DockerfileError:
    hint = nearest(word.text, choices) or "one of " + ", ".join(choices)
    return DockerfileError(message, code="bad-flag", where=word.span, hint=hint)


def cmd(statement: Statement) -> typed.Cmd:
    """CMD."""
    read_flags(statement)
    return typed.Cmd(**statement.common(), words=_words(statement), shell_form=statement.strings is None)


def entrypoint(statement: Statement) -> typed.Entrypoint:
    """ENTRYPOINT."""
    read_flags(statement)
    return typed.Entrypoint(**statement.common(), words=_words(statement), shell_form=statement.strings is None)


def shell(statement: Statement) -> typed.Shell:
    """SHELL, which has only the JSON form."""
    read_flags(statement)
    if not statement.args or statement.strings == ():
        raise statement.mistake("SHELL requires at least one argument", hint='SHELL ["/bin/bash", "-c"]')
    if statement.strings is None:
        raise statement.mistake(
            f"SHELL requires the arguments to be in JSON form: {statement.args[:80]}",
            Token("", statement.start, statement.end),
            hint='SHELL ["/bin/bash", "-c"]',
        )
    return typed.Shell(**statement.common(), words=_words(statement))


def healthcheck(statement: Statement) -> typed.Healthcheck:
    """HEALTHCHECK NONE, or HEALTHCHECK [options] CMD command."""
    if not statement.args:
        raise statement.mistake("HEALTHCHECK requires at least one argument", hint="HEALTHCHECK CMD ..., or NONE")
    kind = next(iter(tokens.split(statement.line.text, statement.start, statement.end)))
    start, end = tokens.trimmed(statement.line.text, kind.end, statement.end)
    flags = read_flags(statement)
    if kind.text.upper() == "NONE":
        if start < end:
            raise statement.mistake("HEALTHCHECK NONE takes no arguments", Token("", start, end))
        return typed.Healthcheck(**statement.common(), command=None)
    if kind.text.upper() != "CMD":
        raise statement.mistake(
            f'Unknown type "{kind.text.upper()[:80]}" in HEALTHCHECK (try CMD)', kind, hint="HEALTHCHECK CMD ..."
        )
    strings = read_strings(statement.line, start, end)
    if strings == () or start >= end:
        raise statement.mistake("Missing command after HEALTHCHECK CMD", kind)
    if strings is None:
        words: tuple[Word, ...] = (statement.line.word(start, end),)
    else:
        words = tuple(statement.word(token, literal=True) for token in strings)
    command = typed.Cmd(
        name="CMD",
        original=statement.line.text[kind.start : end],
        span=statement.line.span(kind.start, end),
        words=words,
        shell_form=strings is None,
    )
    return typed.Healthcheck(
        **statement.common(),
        command=command,
        interval=_interval(flags, "interval"),
        timeout=_interval(flags, "timeout"),
        start_period=_interval(flags, "start-period"),
        start_interval=_interval(flags, "start-interval"),
        retries=_retries(flags),
    )


def _interval(flags: Flags, name: str) -> int:
    word = flags.string(name)
    if not word:
        return 0
    try:
        value = numbers.duration(word.text)
    except ValueError as error:
        raise DockerfileError(
            str(error), code="bad-flag", where=word.span, hint="a duration is written as in 1h30m, 90s, 500ms"
        ) from None
    if value != 0 and value < _MILLISECOND:
        raise DockerfileError(
            f'Interval "{name}" cannot be less than 1ms', code="bad-flag", where=word.span, hint="0 is the default"
        )
    return value


def _retries(flags: Flags) -> int:
    word = flags.string("retries")
    if not word:
        return 0
    try:
        value = numbers.integer(word.text, 32)
    except ValueError as error:
        raise DockerfileError(str(error), code="bad-flag", where=word.span) from None
    if value < 0:
        raise DockerfileError(f"--retries cannot be negative ({value})", code="bad-flag", where=word.span)
    return value
