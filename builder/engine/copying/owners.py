"""``--chown``, and whom WORKDIR's folder belongs to: names become numbers by the files of the root.

source   BuildKit, client/llb/fileop.go (WithUser), solver/llbsolver/ops/user_linux.go; moby/sys/user, user.go
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.dockerfile.source import Span
from builder.engine.sources.source import TooManyLinks, TreeRoot, resolve, split
from builder.errors import ContextError, DockerfileError

_LIMIT = 10 << 20
"""Bytes of /etc/passwd or /etc/group at the most; more is an error, as in BuildKit (maxUserFileBytes)."""

_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def resolve_owner(
    text: str, root: Path | None, where: Span, note: Callable[[str], None] = lambda _: None
) -> tuple[int, int]:
    """The uid and gid that *text* says: ``USER[:GROUP]``, by names or numbers.

    A user by number has the group of the same number; one by name, that of its line in /etc/passwd. A name that the
    root does not know is 0, as in BuildKit, and *note* is told.

    root     where names are looked up, links followed inside it; None if there is no root yet
    raises   DockerfileError, code ``unknown-owner``, if a name is given where there is no root
    """
    user, colon, group = text.partition(":")
    uid = _number(user, where)
    if uid is not None:
        gid = uid
    else:
        fields = _line(root, "etc/passwd", user, "user", where)
        if fields is None:
            note(f"/etc/passwd has no user {user!r}: its files will belong to root")
        uid, gid = (_int(fields, 2), _int(fields, 3)) if fields else (0, 0)
    if colon:
        number = _number(group, where)
        if number is not None:
            return uid, number
        fields = _line(root, "etc/group", group, "group", where)
        if fields is not None:
            return uid, _int(fields, 2)
        note(f"/etc/group has no group {group!r}: group {gid} is taken")
    return uid, gid


def _number(text: str, where: Span) -> int | None:
    """The number that *text* is, or None: then it is a name. Go's ParseInt of 32 bits decides which.

    No name at all is 0: BuildKit sends the number then, which nobody has set (client/llb/fileop.go, UserOpt.marshal).
    """
    if text in ("", "root"):
        return 0
    if not _NUMBER.fullmatch(text) or len(text) > 12 or not -(1 << 31) <= int(text) < 1 << 31:
        return None
    if int(text) < 0:
        raise DockerfileError(f"invalid owner {text}: ids begin at 0", code="invalid-owner", where=where)
    return int(text)


def _line(root: Path | None, path: str, name: str, kind: str, where: Span) -> list[str] | None:
    """The fields of the line of *name*, or None if the file or the line is missing."""
    if root is None:
        raise DockerfileError(
            f'cannot resolve the {kind} "{name}": there is no /{path} yet',
            code="unknown-owner",
            where=where,
            hint=f"give the {kind} by number; names can be used once the root holds /{path}, and never with --link",
        )
    for line in _lines(root, path, where):
        fields = line.strip().split(":")
        if fields[0] == name:
            return fields
    return None


def _lines(root: Path, path: str, where: Span) -> Iterator[str]:
    tree = TreeRoot(root, label="the image")
    try:
        real = resolve(tree, path)
        status = tree.lstat(real)
        if status is None:
            return
        if not stat.S_ISREG(status.st_mode):
            raise ContextError(f"/{path} of the image is not a file", code="bad-users", where=where)
        with tree.reader() as reader, open(reader.file(*split(real)), "rb") as file:
            data = file.read(_LIMIT + 1)
    except TooManyLinks:
        raise ContextError(f'"/{path}": too many links', code="link-loop", where=where) from None
    except OSError as e:
        raise ContextError(
            f"/{path} of the image cannot be read: {e.strerror}", code="bad-users", where=where
        ) from None
    if len(data) > _LIMIT:
        raise ContextError(f"/{path} of the image is larger than {_LIMIT >> 20} MiB", code="bad-users", where=where)
    yield from data.decode("utf-8", "surrogateescape").split("\n")


def _int(fields: list[str], index: int) -> int:
    """A number of a line; 0 if it is missing or none, as Go's parser has it, which cuts longer ones to 32 bits."""
    text = fields[index] if index < len(fields) else ""
    return int(text) & 0xFFFF_FFFF if _NUMBER.fullmatch(text) and len(text) < 19 else 0
