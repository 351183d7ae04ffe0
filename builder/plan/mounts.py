"""The mounts of RUN: what ``--mount`` says, checked, and what it means.

source   BuildKit, frontend/dockerfile/instructions/commands_runmount.go; dockerfile2llb/convert_runmount.go,
         convert_secrets.go, convert_ssh.go; docker/go-units, size.go
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from builder.dockerfile.instructions import MountFlag
from builder.dockerfile.numbers import truth
from builder.dockerfile.source import Span
from builder.errors import DockerfileError
from builder.plan.findings import bounded, mistake
from builder.plan.nearest import nearest
from builder.plan.paths import below, clean, clean_relative
from builder.plan.steps import (
    BindMount,
    CacheMount,
    ContextInput,
    Input,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
)

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")

_KEYS = {
    "type": "type",
    "from": "from",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "readonly": "readonly",
    "ro": "readonly",
    "readwrite": "readwrite",
    "rw": "readwrite",
    "required": "required",
    "size": "size",
    "id": "id",
    "sharing": "sharing",
    "mode": "mode",
    "uid": "uid",
    "gid": "gid",
    "env": "env",
}
_ALONE = ("readonly", "readwrite", "required")
_SIZE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?(?:b|([kmgtp])(?:i?b)?)?", re.IGNORECASE)
_MAX_SIZE = (1 << 63) - 1


@dataclass(slots=True)
class _Said:
    """What one ``--mount`` says, in its order: later keys see the type that earlier ones set."""

    where: Span
    kind: str = "bind"
    source_stage: str = ""
    source: str = ""
    target: str = ""
    id: str = ""
    sharing: str = ""
    env: str | None = None
    read_only: bool | None = None
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None

    def wrong(self, message: str, hint: str | None = None) -> DockerfileError:
        return mistake(message, self.where, "invalid-mount", hint)


def source_name(flag: MountFlag) -> str:
    """The stage, context or image that a mount takes from, as written; "" if it names none.

    raises   DockerfileError if there is a variable in it: what a build needs must be known before it runs
    """
    name = ""
    for key, value in flag.options:
        if key == "from" and value is not None:
            if "$" in value[:-1]:
                raise mistake(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    flag.span,
                    "variable-in-from",
                    "add a stage: FROM $VARIABLE AS name, and name it here",
                )
            name = value
    return name


def read_mount(
    flag: MountFlag, expand: Callable[[str, Span], str], cwd: str, taken: Input | None, socket: int, namespace: str = ""
) -> RunMount:
    """The mount that *flag* says.

    expand  replaces the variables of a value
    cwd     what a relative target is relative to
    taken   what ``from`` named; None without it
    socket  how many ssh mounts came before: the number of the default socket
    namespace   of caches; those of another one are others
    """
    said = _Said(flag.span)
    for key, raw in flag.options:
        _take(said, key, None if raw is None else expand(raw, flag.span))
    _check(said)
    mount = _mount(said, cwd, taken, socket, namespace)
    bounded(mount.target or "", "the mount's target", said.where)
    return mount


def _mount(said: _Said, cwd: str, taken: Input | None, socket: int, namespace: str) -> RunMount:
    match said.kind:
        case "secret":
            return _secret(said, cwd)
        case "ssh":
            return _ssh(said, cwd, socket)
        case "tmpfs":
            return TmpfsMount(
                target=_target(said, cwd),
                size=said.size,
                source=clean(said.source),
                read_only=said.read_only is True,
                where=said.where,
            )
        case "cache":
            return _cache(said, cwd, taken, namespace)
    return BindMount(
        target=_target(said, cwd),
        input=taken or ContextInput(),
        source=clean(said.source),
        writable=said.read_only is False,
        where=said.where,
    )


def _take(said: _Said, key: str, value: str | None) -> None:
    name = _KEYS.get(key.lower())
    if value is None and name not in _ALONE:
        raise said.wrong(f"invalid field '{key}' must be a key=value pair")
    if name is None:
        meant = nearest(key, _KEYS)
        hint = f"did you mean {meant}?" if meant else "known are " + ", ".join(dict.fromkeys(_KEYS.values()))
        raise said.wrong(f"unexpected key '{key}' in '{key}={value}'", hint)
    if name in _ALONE:
        _take_switch(said, key, name, value)
        return
    text = value or ""
    match name:
        case "type":
            said.kind = _one_of(said, text, TYPES, "unsupported mount type")
        case "sharing":
            said.sharing = _one_of(said, text, SHARING, "unsupported sharing value")
        case "from":
            said.source_stage = text
        case "size":
            said.size = _size(said, text)
        case "mode":
            said.mode = _number(said, name, text, 8)
        case "uid":
            said.uid = _number(said, name, text, 10)
        case "gid":
            said.gid = _number(said, name, text, 10)
        case "env":
            if not text:
                raise said.wrong("invalid value for env: it is empty")
            said.env = text
        case "source":
            said.source = text
        case "target":
            said.target = text
        case "id":
            said.id = text


def _take_switch(said: _Said, key: str, name: str, value: str | None) -> None:
    if name == "required" and said.kind not in ("secret", "ssh"):
        raise said.wrong(f"unexpected key '{key}' for mount type '{said.kind}'")
    on = True if value is None else truth(value)
    if on is None:
        raise said.wrong(f"invalid value for {key}: {value}")
    if name == "required":
        said.required = on
    else:
        said.read_only = on if name == "readonly" else not on


def _one_of(said: _Said, text: str, names: tuple[str, ...], complaint: str) -> str:
    if text.lower() in names:
        return text.lower()
    meant = nearest(text.lower(), names)
    raise said.wrong(f'{complaint} "{text}"', f"did you mean {meant}?" if meant else "known are " + ", ".join(names))


def _number(said: _Said, name: str, text: str, base: int) -> int:
    digits = "[0-7]+" if base == 8 else "[0-9]+"
    if not re.fullmatch(digits, text) or len(text) > 20 or int(text, base) >= 1 << 32:
        raise said.wrong(f"invalid value {text} for {name}")
    return int(text, base)


def _size(said: _Said, text: str) -> int:
    if said.kind != "tmpfs":
        raise said.wrong(f"unexpected key 'size' for mount type '{said.kind}'")
    found = _SIZE.fullmatch(text)
    power = "kmgtp".index(found[2].lower()) + 1 if found and found[2] else 0
    if found is None or len(found[1]) > 30 or (size := int(float(found[1]) * 1024**power)) > _MAX_SIZE:
        raise said.wrong(f"invalid value for size: {text}", "write it as 64m or 1g")
    return size


def _check(said: _Said) -> None:
    """What goes with which type."""
    if said.kind not in ("secret", "ssh", "cache"):
        for name in ("mode", "uid", "gid"):
            if getattr(said, name) is not None:
                raise said.wrong(f'{name} not allowed for "{said.kind}" type mounts')
    if said.kind == "secret":
        _check_secret(said)
    if said.sharing and said.kind != "cache":
        raise said.wrong(f"invalid cache sharing set for {said.kind} mount")
    if said.kind == "ssh" and said.source:
        raise said.wrong("ssh does not support source")


def _check_secret(said: _Said) -> None:
    if said.source_stage:
        raise said.wrong("secret mount should not have a from")
    if said.sharing:
        raise said.wrong("secret mount should not define sharing")
    if not said.source and not said.target and not said.id:
        raise said.wrong("invalid secret mount. one of source, target required")
    if said.source and said.id:
        raise said.wrong("both source and id can't be set")


def _target(said: _Said, cwd: str) -> str:
    target = clean(below(cwd, said.target))
    if target == "/":
        raise said.wrong(f'invalid mount target "{target}"', "give target=, a folder other than the root")
    return target


def _cache(said: _Said, cwd: str, taken: Input | None, namespace: str) -> CacheMount:
    # The target as written, so that a relative one means another cache than the folder that it stands for.
    name = said.id or clean_relative(said.target)
    return CacheMount(
        target=_target(said, cwd),
        id=f"{namespace}/{name}" if namespace else name,
        sharing=said.sharing or "shared",
        input=taken,
        source=clean(said.source),
        mode=0o755 if said.mode is None else said.mode,
        uid=said.uid or 0,
        gid=said.gid or 0,
        read_only=said.read_only is True,
        where=said.where,
    )


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _secret(said: _Said, cwd: str) -> SecretMount:
    name = said.source or said.id or _base(said.target)
    target = said.target or (f"/run/secrets/{_base(name)}" if said.env is None else "")
    return SecretMount(
        id=name,
        target=clean(below(cwd, target)) if target else None,
        env=said.env or "",
        required=said.required,
        mode=_mode(said, 0o400),
        uid=said.uid or 0,
        gid=said.gid or 0,
        where=said.where,
    )


def _ssh(said: _Said, cwd: str, socket: int) -> SshMount:
    return SshMount(
        id=said.id or "default",
        target=clean(below(cwd, said.target)) if said.target else f"/run/buildkit/ssh_agent.{socket}",
        required=said.required,
        mode=_mode(said, 0o600),
        uid=said.uid or 0,
        gid=said.gid or 0,
        where=said.where,
    )


def _mode(said: _Said, default: int) -> int:
    return default if said.mode is None else said.mode
