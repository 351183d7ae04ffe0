"""Paths inside an image, as text: nothing is looked up.

source   BuildKit, util/system/path.go
"""

from __future__ import annotations


def clean(path: str) -> str:
    """The absolute *path* without ``.``, ``..`` and doubled slashes, as Go's path.Clean leaves it."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def clean_relative(path: str) -> str:
    """*path* as Go's path.Clean leaves it, absolute or not: ``.`` for an empty one."""
    if path.startswith("/"):
        return clean(path)
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept) or "."


def below(folder: str, path: str) -> str:
    """*path* seen from *folder*: an absolute one stays as it was written, any other is joined and cleaned."""
    if not path:
        return folder
    return path if path.startswith("/") else clean(f"{folder}/{path}")


def as_target(folder: str, path: str) -> tuple[str, bool]:
    """Where a copy goes, cleaned, and whether it was written as a folder: with a slash or a dot at its end."""
    return clean(below(folder, path)), path in ("", ".") or path.endswith(("/", "/."))
