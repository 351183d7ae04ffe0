"""In what two instructions differ, for people: the parts that ``cachekey`` made of them, one against the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = {
    "argv": "the command",
    "env": "the environment",
    "cwd": "the working folder",
    "user": "the user",
    "mounts": "the mounts",
    "files": "the here-documents",
    "sources": "the sources",
    "target": "the destination",
    "target_is_folder": "whether the destination is a folder",
    "owner": "--chown",
    "mode": "--chmod",
    "excludes": "--exclude",
    "inline": "the here-documents",
    "platform": "the platform",
    "network": "the network",
    "hosts": "--add-host",
    "shm_size": "--shm-size",
    "ulimits": "--ulimit",
    "epoch": "SOURCE_DATE_EPOCH",
    "version": "what pybuild does for it",
}

_LONGEST = 200
"""Characters of a value that are shown."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each part that differs; for the environment, for each variable."""
    return tuple(
        line
        for name in dict.fromkeys((*new, *old))
        if old.get(name) != new.get(name)
        for line in _lines(name, old.get(name), new.get(name))
    )


def _lines(name: str, old: Any, new: Any) -> Iterator[str]:
    if name == "env" and isinstance(old, list) and isinstance(new, list):
        yield from _environment(old, new)
    else:
        yield f"{_WORDS.get(name, name)} changed: it was {_shown(old)}, and is {_shown(new)}"


def _environment(old: list[str], new: list[str]) -> Iterator[str]:
    before, now = (dict(entry.partition("=")[::2] for entry in entries) for entries in (old, new))
    for name in dict.fromkeys((*now, *before)):
        if name not in before:
            yield f"the variable {name} is new: {_shown(now[name])}"
        elif name not in now:
            yield f"the variable {name} is gone: it was {_shown(before[name])}"
        elif before[name] != now[name]:
            yield f"the variable {name} changed: it was {_shown(before[name])}, and is {_shown(now[name])}"
    if before == now:
        yield "the variables have another order"


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) == 3 and value[:2] == ["/bin/sh", "-c"]:
        value = value[2]  # as it was written
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
