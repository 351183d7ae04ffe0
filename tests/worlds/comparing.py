"""What two images have in common: everything but times, layer by layer and as one tree.

What is by nature another one in each build (a key that was made, a log with times) is named below with its reason: its
owner, mode and kind are compared all the same, and only what is in it is not.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from worlds.building import Image

DIFFERENT: Mapping[str, str] = {
    "etc/ssh/ssh_host_*_key*": "made of random numbers",
    "var/cache/ldconfig/aux-cache": "holds inodes and times of libraries",
    "var/cache/apt/*.bin": "holds times of the lists, and is laid out by what is read first",
    "var/lib/apt/lists/*": "the mirror's, which may change between two builds",
    "var/log/apt/*": "a log with times",
    "var/log/dpkg.log": "a log with times",
    "var/log/alternatives.log": "a log with times",
}
"""Pattern of paths → why the contents differ."""

# shadow(5): the third field is the day of the last change of the password, and a build may be made at midnight.
_SHADOW = ("etc/shadow", "etc/shadow-")
_DAY = re.compile(rb"^([^:\n]*:[^:\n]*:)\d+", re.MULTILINE)

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What may not differ of one path.

    content   digest of what a file holds, or a link's target
    names     all of a file's names in its layer, where it has several
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    content: str
    rdev: tuple[int, int]
    xattrs: tuple[tuple[str, str], ...]
    names: tuple[str, ...] = ()


Tree = dict[str, Member]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All of an image that is compared. digests: the layers', of which equal ones need no look."""

    config: Mapping[str, Any]
    digests: tuple[str, ...]
    layers: tuple[Tree, ...]


def contents(image: Image) -> Contents:
    """Those of *image*, whose layout may go then. Whiteouts are members like others."""
    digests = tuple(str(each["digest"]) for each in image.manifest["layers"])
    layers = tuple(_layer(digest, _Bytes(image, number)) for number, digest in enumerate(digests))
    return Contents(config=image.config, digests=digests, layers=layers)


def flattened(layers: tuple[Tree, ...]) -> Tree:
    """The tree that the layers make. source: OCI image-spec, layer.md, "Whiteouts"."""
    tree: Tree = {}
    for own in layers:
        for path in own:
            folder, name = PurePosixPath(path).parent, PurePosixPath(path).name
            if name == ".wh..wh..opq":
                _remove_below(tree, str(folder))
            elif name.startswith(".wh."):
                gone = str(folder / name.removeprefix(".wh."))
                _remove_below(tree, gone)
                tree.pop(gone, None)
        for path, member in own.items():
            if PurePosixPath(path).name.startswith(".wh."):
                continue
            if member.kind != "folder" and path in tree and tree[path].kind == "folder":
                _remove_below(tree, path)
            tree[path] = member
    return tree


def differences(expected: Contents, found: Contents) -> list[str]:
    """What *found* has otherwise than *expected*, a line for each; nothing if they are one image."""
    told = _documents(expected.config, found.config)
    if len(expected.layers) != len(found.layers):
        return [*told, f"{len(expected.layers)} layers, but {len(found.layers)}"]
    for number, (one, other) in enumerate(zip(expected.layers, found.layers, strict=True)):
        if expected.digests[number] != found.digests[number]:
            told += _trees(f"layer {number}", one, other)
    return [*told, *_trees("tree", flattened(expected.layers), flattened(found.layers))]


def _documents(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Of the configurations all but times and the layers' digests."""

    def told(config: Mapping[str, Any]) -> dict[str, object]:
        history = [{key: value for key, value in each.items() if key != "created"} for each in config["history"]]
        rest = {key: value for key, value in config.items() if key not in ("created", "rootfs", "history")}
        return rest | {"history": history}

    left, right = told(one), told(other)
    keys = sorted(left.keys() | right.keys())
    return [
        f"configuration, {key}: {left.get(key)!r}, but {right.get(key)!r}"
        for key in keys
        if left.get(key) != right.get(key)
    ]


def _trees(title: str, one: Tree, other: Tree) -> Iterator[str]:
    for path in sorted(one.keys() | other.keys()):
        left, right = one.get(path), other.get(path)
        if left is None or right is None:
            yield f"{title}: {path}: {'too much' if left is None else 'missing'}"
            continue
        if any(fnmatchcase(path, pattern) for pattern in DIFFERENT):
            left, right = (replace(each, size=0, content="") for each in (left, right))
        if left != right:
            unequal = [name for name in Member.__slots__ if getattr(left, name) != getattr(right, name)]
            told = ", ".join(f"{name} {getattr(left, name)!r}, but {getattr(right, name)!r}" for name in unequal)
            yield f"{title}: {path}: {told}"


def _remove_below(tree: Tree, folder: str) -> None:
    prefix = f"{folder}/"
    for path in [path for path in tree if path.startswith(prefix)]:
        del tree[path]


@dataclass(frozen=True, slots=True)
class _Bytes:
    """Where a layer is read if its digest is new. All are equal, so that the digest alone is remembered."""

    image: Image = field(compare=False)
    number: int = field(compare=False)

    def read(self) -> bytes:
        return self.image.layer(self.number)


@lru_cache(64)
def _layer(_digest: str, source: _Bytes) -> Tree:
    tree: Tree = {}
    names: dict[str, list[str]] = {}
    with tarfile.open(fileobj=BytesIO(source.read()), errors="surrogateescape") as tar:
        for member in tar:
            path = member.name.removeprefix("./") or "."
            if member.islnk():
                first = member.linkname.removeprefix("./")
                names.setdefault(first, [first]).append(path)
                tree[path] = tree[first]
            else:
                tree[path] = _member(path, member, _content(tar, path, member))
    for group in names.values():
        for path in group:
            tree[path] = replace(tree[path], names=tuple(sorted(group)))
    return tree


def _content(tar: tarfile.TarFile, path: str, member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return member.linkname if member.issym() else ""
    file = tar.extractfile(member)
    assert file is not None
    data = file.read()
    return hashlib.sha256(_DAY.sub(rb"\1", data) if path in _SHADOW else data).hexdigest()


def _member(path: str, member: tarfile.TarInfo, content: str) -> Member:
    device = member.isdev() and not member.isfifo()
    xattrs = {name: value for name, value in member.pax_headers.items() if name.startswith("SCHILY.xattr.")}
    return Member(
        kind=_KINDS[member.type],
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=0 if path in _SHADOW else member.size,
        content=content,
        rdev=(member.devmajor, member.devminor) if device else (0, 0),
        xattrs=tuple(sorted(xattrs.items())),
    )
