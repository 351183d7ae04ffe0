"""The comma separated fields of RUN's ``--mount`` and ``--device``.

Source: BuildKit's ``instructions/commands_runmount.go``, ``commands_rundevice.go``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder.dockerfile.instructions import MountFlag, Word
from builder.dockerfile.numbers import truth
from builder.dockerfile.source import Span
from builder.dockerfile.statement import nearest
from builder.dockerfile.tokens import BadFields, fields
from builder.errors import DockerfileError

_MOUNT_KEYS = (
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
)
_VALUELESS = frozenset({"readonly", "ro", "readwrite", "rw", "required"})
_CHOICES = {"type": ("bind", "cache", "tmpfs", "secret", "ssh"), "sharing": ("shared", "private", "locked")}


@dataclass(frozen=True, slots=True)
class _Field:
    """``key=value`` as written; ``value`` is None without an equals sign. ``at``: its offset, -1 if that is unknown."""

    written: str
    key: str
    value: str | None
    at: int
    flag: Word

    def mistake(self, message: str, code: str, *, on: str = "field", hint: str | None = None) -> DockerfileError:
        """An error at the field, its key or its value."""
        key, equals, value = self.written.partition("=")
        begin = 0 if on != "value" else len(key + equals)
        length = len({"field": self.written, "key": key, "value": value}[on])
        span = self.flag.span
        # Where quotes were taken away, offsets do not fit the file any more: the whole flag is shown.
        whole = span.end_line == span.line and span.end_column - span.column == len(self.flag.text)
        if self.at >= 0 and whole and length:
            column = span.column + self.at + begin
            span = Span(span.file, span.line, column, span.line, column + length)
        return DockerfileError(message, code=code, where=span, hint=hint)


def _fields(flag: Word, kind: str) -> Iterator[_Field]:
    try:
        texts = fields(flag.text)
    except BadFields as error:
        raise DockerfileError(f"failed to parse csv {kind}: {error}", code="bad-flag", where=flag.span) from None
    at = -1 if '"' in flag.text else 0
    for text in texts:
        key, equals, value = text.partition("=")
        yield _Field(text, key.lower(), value if equals else None, at, flag)
        at += len(text) + 1 if at >= 0 else 0


def mount_flag(flag: Word) -> MountFlag:
    """``--mount``, its keys checked. Values are checked once they are expanded, but for those that cannot change.

    raises  DockerfileError ``unknown-mount-key``, ``bad-mount``, ``bad-flag``
    """
    options = []
    for field in _fields(flag, "mounts"):
        if field.key not in _MOUNT_KEYS:
            message = f"unexpected key '{field.key}' in '{field.written}'"
            if field.value is None:
                message = f"invalid field '{field.written}' must be a key=value pair"
            raise field.mistake(message, "unknown-mount-key", on="key", hint=nearest(field.key, _MOUNT_KEYS))
        if field.value is None and field.key not in _VALUELESS:
            raise field.mistake(f"invalid field '{field.written}' must be a key=value pair", "bad-mount")
        _check_value(field)
        options.append((field.key, field.value))
    return MountFlag(options=tuple(options), span=flag.span)


def _check_value(field: _Field) -> None:
    value = field.value or ""
    if field.key == "from" and 0 <= value.find("$") < len(value) - 1:
        raise field.mistake(
            "'from' doesn't support variable expansion, define alias stage instead",
            "bad-mount",
            on="value",
            hint="FROM $IMAGE AS alias, and then from=alias",
        )
    choices = _CHOICES.get(field.key)
    if choices and value.lower() not in choices and not any(c in value for c in "$'\"\\`"):
        what = "mount type" if field.key == "type" else "sharing value"
        hint = nearest(value.lower(), choices) or "one of " + ", ".join(choices)
        raise field.mistake(f'unsupported {what} "{value}"', "bad-mount", on="value", hint=hint)


def check_device(flag: Word) -> None:
    """``--device``: a name, and ``required``.

    raises  DockerfileError ``bad-device``, ``bad-flag``
    """
    name = ""
    for field in _fields(flag, "devices"):
        if field.key == "required":
            if field.value is not None and truth(field.value) is None:
                message = f"invalid value for {field.key}: {field.value}"
                raise field.mistake(message, "bad-device", on="value", hint="true or false")
        elif field.key == "name" and field.value is not None:
            if name:
                raise field.mistake(f"device name already set to {name}", "bad-device")
            name = field.value
        elif not name:
            name = field.written
        elif field.value is None:
            raise field.mistake(f"invalid field '{field.written}' must be a key=value pair", "bad-device")
        else:
            hint = nearest(field.key, ("name", "required"))
            raise field.mistake(f"unexpected key '{field.key}' in '{field.written}'", "bad-device", on="key", hint=hint)
