"""USER, resolved in a root's own /etc/passwd and /etc/group: pure, of their texts.

source   BuildKit executor/oci/user.go and moby/sys/user, GetExecUser, whose rules and error texts these are
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder.errors import DockerfileError

_HIGHEST = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who runs. ``groups`` are the supplementary ones, the primary among them, as containers have it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(spec: str, passwd: str | None, group: str | None) -> User:
    """The user that *spec* (``name|id[:group|id]``, "" is root) means in a root.

    passwd, group  the texts of the files, None where there is none
    raises         DockerfileError for a name that no entry has
    """
    # Behind a second colon nothing counts (moby/sys/user, GetExecUser: parseLine).
    name, group_name = (*spec.split(":"), "")[:2]
    both = _both_numbers(spec)
    if both is not None:
        # Two numbers are taken as they are: no entry is looked for, and no supplementary group.
        uid, gid = both
        return User(uid=uid, gid=gid, groups=(gid,), home=home_of(uid, passwd))
    uid, gid, matched = _user(name or "0", passwd)
    groups: tuple[int, ...] = ()
    if group_name:
        gid = _group(group_name, group)
    elif matched is not None:
        # Supplementary groups are the user's only where no group was said.
        groups = tuple(_number(fields[2]) for fields in _entries(group, 3) if matched in _members(fields))
    if gid not in groups:
        groups = (gid, *groups)
    return User(uid=uid, gid=gid, groups=groups, home=home_of(uid, passwd))


def home_of(uid: int, passwd: str | None) -> str:
    """HOME of a user id: of the first entry that has it, be it empty, else "/".

    source   runc, libcontainer/init_linux.go; moby/sys/user, GetExecUser
    """
    for fields in _entries(passwd, 3):
        if _number(fields[2]) == uid:
            return fields[5] if len(fields) > 5 else ""
    return "/"


def _both_numbers(spec: str) -> tuple[int, int] | None:
    name, colon, group = spec.partition(":")
    if not colon:
        return None
    numbers = [0 if word == "root" else _id(word) for word in (name, group)]
    if numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]


def _user(name: str, passwd: str | None) -> tuple[int, int, str | None]:
    """uid, gid, and the name of the entry that was found. A number is never a name."""
    number = _id(name)
    for fields in _entries(passwd, 3):
        if (_number(fields[2]) == number) if number is not None else (fields[0] == name):
            return _number(fields[2]), _number(fields[3]) if len(fields) > 3 else 0, fields[0]
    if number is None:
        raise DockerfileError(
            f"unable to find user {name}: no matching entries in passwd file",
            code="unknown-user",
            hint="create the user before this instruction, or give a number",
        )
    return number, 0, None


def _group(name: str, group: str | None) -> int:
    number = _id(name)
    for fields in _entries(group, 3):
        if (_number(fields[2]) == number) if number is not None else (fields[0] == name):
            return _number(fields[2])
    if number is None:
        raise DockerfileError(
            f"unable to find group {name}: no matching entries in group file",
            code="unknown-group",
            hint="create the group before this instruction, or give a number",
        )
    return number


def _id(word: str) -> int | None:
    """*word* as an id, or None for what is a name."""
    digits = word[1:] if word[:1] in ("+", "-") else word
    if not (digits.isascii() and digits.isdigit()):
        return None
    if word[0] == "-" or len(digits) > 10 or int(digits) > _HIGHEST:
        raise DockerfileError("uids and gids must be in range 0-2147483647", code="id-out-of-range")
    return int(digits)


def _entries(text: str | None, fields: int) -> Iterator[list[str]]:
    for line in (text or "").split("\n"):
        line = line.strip()
        if line and not line.startswith("#"):
            parts = line.split(":")
            if len(parts) >= fields:
                yield parts


def _members(fields: list[str]) -> list[str]:
    return fields[3].split(",") if len(fields) > 3 and fields[3] else []


def _number(word: str) -> int:
    # What is no number counts as 0, as it does there.
    return int(word) if word.isascii() and word.isdigit() and len(word) < 11 else 0
