"""File systems as values: make them, read them back, compare them.

>>> make(root, {"etc/motd": File("hi"), "etc/host": Link("motd")})
>>> read(root)
{"etc": Folder(), "etc/host": Link("motd"), "etc/motd": File("hi")}

Names are str; bytes that are not UTF-8 are surrogates, as ``os.fsdecode`` makes them. Folders above a name need not be
told when making. What is told last is made last, so a second name of a file follows the first.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

MTIME = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class _Node:
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float | None = MTIME
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class File(_Node):
    content: str | bytes = field(default="", kw_only=False)


@dataclass(frozen=True)
class Folder(_Node):
    mode: int = field(default=0o755, kw_only=True)
    mtime: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Link(_Node):
    target: str = field(default="", kw_only=False)
    mode: int = field(default=0o777, kw_only=True)


@dataclass(frozen=True)
class Same(_Node):
    """Another name of the file *of*."""

    of: str = field(default="", kw_only=False)


@dataclass(frozen=True)
class Fifo(_Node):
    pass


@dataclass(frozen=True)
class Device(_Node):
    kind: str = field(default="c", kw_only=False)
    major: int = field(default=1, kw_only=False)
    minor: int = field(default=3, kw_only=False)


Node = File | Folder | Link | Same | Fifo | Device
Tree = dict[str, Node]


def make(root: Path, tree: Tree) -> Path:
    """Make *tree* in the folder *root*, which may be there."""
    root.mkdir(exist_ok=True)
    for name, node in tree.items():
        path = root / name
        _parents(root, path)
        _make(root, path, node)
    for name, node in reversed(list(tree.items())):
        if isinstance(node, Folder) and node.mtime is not None:
            os.utime(root / name, (node.mtime, node.mtime))
    return root


def _parents(root: Path, path: Path) -> None:
    if path.parent != root and not path.parent.is_dir():
        _parents(root, path.parent)
        path.parent.mkdir()
        path.parent.chmod(0o755)


def _make(root: Path, path: Path, node: Node) -> None:
    if isinstance(node, Same):
        os.link(root / node.of, path, follow_symlinks=False)
        return
    if isinstance(node, Link):
        path.symlink_to(node.target)
    elif isinstance(node, Folder):
        path.mkdir(exist_ok=True)
    elif isinstance(node, File):
        path.write_bytes(_bytes(node.content))
    elif isinstance(node, Fifo):
        os.mkfifo(path)
    else:
        kind = stat.S_IFCHR if node.kind == "c" else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(node.major, node.minor))
    os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if not isinstance(node, Link):
        path.chmod(node.mode)
    for name, value in node.xattrs:
        os.setxattr(path, name, value, follow_symlinks=False)
    if node.mtime is not None:
        os.utime(path, (node.mtime, node.mtime), follow_symlinks=False)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def read(root: Path, *, folder_times: bool = False) -> Tree:
    """The tree in *root*, names sorted; contents are str where UTF-8; folders' times None if not asked for."""
    found: Tree = {}
    first: dict[tuple[int, int], str] = {}
    for path in sorted(root.rglob("*"), key=lambda path: os.fsencode(path).split(b"/")):
        found[str(path.relative_to(root))] = _read(root, path, first, folder_times)
    return found


def _read(root: Path, path: Path, first: dict[tuple[int, int], str], folder_times: bool) -> Node:
    status = path.lstat()
    name = str(path.relative_to(root))
    mode = status.st_mode
    if status.st_nlink > 1 and not stat.S_ISDIR(mode):
        known = first.setdefault((status.st_dev, status.st_ino), name)
        if known != name:
            return Same(known)
    held = {
        "mode": stat.S_IMODE(mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime_ns / 10**9,
        "xattrs": tuple((n, os.getxattr(path, n, follow_symlinks=False)) for n in sorted(_names(path))),
    }
    if stat.S_ISDIR(mode):
        return Folder(**held | ({} if folder_times else {"mtime": None}))
    if stat.S_ISLNK(mode):
        return Link(os.readlink(path), **held)
    if stat.S_ISREG(mode):
        data = path.read_bytes()
        try:
            return File(data.decode(), **held)
        except UnicodeDecodeError:
            return File(data, **held)
    if stat.S_ISFIFO(mode):
        return Fifo(**held)
    kind = "c" if stat.S_ISCHR(mode) else "b"
    return Device(kind, os.major(status.st_rdev), os.minor(status.st_rdev), **held)


def _names(path: Path) -> list[str]:
    return [
        name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(("user.", "security.capability"))
    ]


def filled(tree: Tree) -> Tree:
    """*tree* with the folders above each name, sorted, and bytes that are UTF-8 as str: as ``read`` gives it."""
    whole: Tree = {}
    for name, node in tree.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            whole.setdefault("/".join(parts[:depth]), Folder())
        if isinstance(node, File) and isinstance(node.content, bytes):
            try:
                node = replace(node, content=node.content.decode())
            except UnicodeDecodeError:
                pass  # stays bytes
        whole[name] = node
    return dict(sorted(whole.items(), key=lambda item: os.fsencode(item[0]).split(b"/")))
