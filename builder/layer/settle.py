"""What a layer's folder still needs from the layers below it, once they are there.

A layer may name a file in a folder that it does not tell, link to a file of a layer below, or delete what is not there.
Overlayfs would show the first with a wrong owner and mode, and the last as odd names in listings.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from builder.errors import ImageError
from builder.layer import xattrs
from builder.layer.folders import CONFINED, OPAQUE_XATTR, OVERLAY, clean, is_whiteout
from builder.layer.tree import Tree
from native import syscalls


class Below(Protocol):
    """The layers below, seen as one tree."""

    def find(self, path: bytes) -> bytes | None:
        """Where the file or folder *path* lies on disk (its topmost one), or None. No link is followed."""
        ...

    def names(self, folder: bytes) -> set[bytes]:
        """The names in the merged *folder*."""
        ...


def settle(
    root: Path,
    below: Below,
    implied: Sequence[bytes],
    links: Sequence[tuple[bytes, bytes]] = (),
    whiteouts: Sequence[bytes] = (),
    opaques: Sequence[bytes] = (),
    *,
    empties_root: bool = False,
) -> None:
    """Finish the layer in the folder *root*, which stands on *below*. For the arguments see ``apply.Applied``."""
    with Inside(root) as inside:
        moved: list[tuple[bytes, bytes]] = []
        for path in implied:
            found = below.find(path)
            if found is None:
                continue
            status = os.lstat(found)
            if stat.S_ISDIR(status.st_mode):
                inside.dress(path, found, status)
            elif stat.S_ISLNK(status.st_mode):
                moved.append((path, _move_behind_link(root, inside, below, path)))
        for path in whiteouts:
            path = _after(moved, path)
            if below.find(path) is None:
                inside.remove_whiteout(path)
        for path in opaques:
            path = _after(moved, path)
            found = below.find(path)
            if found is None or not stat.S_ISDIR(os.lstat(found).st_mode):
                inside.remove_mark(path)
        for path, target in links:
            _link(root, below, _after(moved, path), target)
        if empties_root:
            _hide_root(os.fsencode(root), below)


class Inside:
    """The layer's folder. A later entry may have put a link above a path, so each is opened following none."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int | None]:
        """A descriptor of the folder *path*, or None if there is no such folder (any more)."""
        try:
            fd = syscalls.openat2(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, CONFINED)
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def remove_whiteout(self, path: bytes) -> None:
        """Remove the device 0:0 at *path*, if there is one."""
        above, _, name = path.rpartition(b"/")
        with self.folder(above) as folder:
            try:
                if folder is not None and is_whiteout(os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return

    def remove_mark(self, path: bytes) -> None:
        """Let the folder *path* hide nothing."""
        with self.folder(path) as folder:
            if folder is not None:
                try:
                    os.removexattr(folder, OPAQUE_XATTR)
                except OSError as e:
                    if e.errno != errno.ENODATA:
                        raise

    def remove_folder(self, path: bytes) -> None:
        """Remove the empty folder *path*."""
        above, _, name = path.rpartition(b"/")
        with self.folder(above) as folder:
            os.rmdir(name, dir_fd=folder)

    def dress(self, path: bytes, source: bytes, status: os.stat_result) -> None:
        """Give the folder *path* the metadata of the one below, as copying up does."""
        with self.folder(path) as folder:
            if folder is None:
                return
            os.fchown(folder, status.st_uid, status.st_gid)
            os.fchmod(folder, stat.S_IMODE(status.st_mode))
            for name, value in _kept(source).items():
                xattrs.write(folder, name, value)
            os.utime(folder, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _kept(source: bytes) -> dict[bytes, bytes]:
    # Overlay's own marks belong to their layer; what an image had under that prefix is escaped, and kept so.
    return {
        name: value
        for name, value in xattrs.read(source).items()
        if not name.startswith(OVERLAY) or name.startswith(OVERLAY + b"overlay.")
    }


def resolve(below: Below, path: bytes) -> bytes:
    """*path* without links in it, as the layers below have them; the last part too. What is missing stays as it is."""
    where: list[bytes] = []
    todo = path.split(b"/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part == b"..":
            where[-1:] = []
            continue
        if not part or part == b".":
            continue
        found = below.find(b"/".join((*where, part)))
        if found is None or not os.path.islink(found):
            where.append(part)
            continue
        links += 1
        if links > 40:  # MAXSYMLINKS, path_resolution(7)
            raise ImageError(f"{os.fsdecode(path)!r} is behind a loop of links", code="malformed-archive")
        target = os.readlink(found)
        if target.startswith(b"/"):
            where = []
        todo.extend(reversed(target.split(b"/")))
    return b"/".join(where)


def _after(moved: Sequence[tuple[bytes, bytes]], path: bytes) -> bytes:
    for old, new in moved:
        if path == old or path.startswith(old + b"/"):
            return new + path[len(old) :]
    return path


def _move_behind_link(root: Path, inside: Inside, below: Below, path: bytes) -> bytes:
    """Put what the layer has in *path*, which below is a link to a folder, where the link leads; the folder there.

    A folder that stayed here would hide the link: think of /lib → usr/lib, and a layer that names lib/x.
    """
    with inside.folder(path) as old:
        target = resolve(below, path)
        if old is None:
            return path

        if not target or target == path or target.startswith(path + b"/"):
            raise ImageError(f"{os.fsdecode(path)!r} is behind a link that leads to itself", code="malformed-archive")
        with Tree(root, through_links=True, overlay=True) as tree:
            with inside.folder(tree.resolve(target)) as new:
                if new is None:
                    return path
                _merge(old, new)
            made = tuple(tree.implied)
    inside.remove_folder(path)
    settle(root, below, made)
    return target


def _merge(old: int, new: int) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    for text in os.listdir(old):
        name = os.fsencode(text)
        if _is_folder(old, name) and _is_folder(new, name):
            inner = os.open(name, flags, dir_fd=old)
            try:
                other = os.open(name, flags, dir_fd=new)
                try:
                    _merge(inner, other)
                finally:
                    os.close(other)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=old)
            continue
        try:
            os.rename(name, name, src_dir_fd=old, dst_dir_fd=new)
        except OSError as e:
            if e.errno not in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise ImageError(
                f"the layer has {text!r} both as a folder and as a file, once behind a link", code="malformed-archive"
            ) from None


def _is_folder(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _link(root: Path, below: Below, path: bytes, target: bytes) -> None:
    """Copy *target* up from the layers below, and make *path* another name of it: what link(2) in an overlay does."""
    folder, slash, name = target.rpartition(b"/")
    real = clean(resolve(below, folder) + slash + name)
    found = below.find(real)
    with Tree(root, through_links=True, overlay=True) as tree:
        if not tree.hard_link(path, real):
            if found is None or stat.S_ISDIR(os.lstat(found).st_mode):
                raise ImageError(
                    f"{os.fsdecode(path)!r} is a hard link to {os.fsdecode(target)!r}, which is not there",
                    code="malformed-archive",
                )
            parent, last = tree.enter(real)
            _copy_up(found, b"/proc/self/fd/%d/%b" % (parent, last))
            tree.hard_link(path, real)
        made = tuple(tree.implied)
    settle(root, below, made)


def _copy_up(source: bytes, target: bytes) -> None:
    import shutil  # few layers link to another

    status = os.lstat(source)
    if stat.S_ISREG(status.st_mode):
        with open(source, "rb") as old, open(target, "xb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
        for name, value in _kept(source).items():
            xattrs.write(target, name, value)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _hide_root(base: bytes, below: Below) -> None:
    # overlayfs merges the roots of its layers whatever they are marked with.
    for name in sorted(below.names(b"")):
        try:
            os.mknod(base + b"/" + name, stat.S_IFCHR | 0o600, 0)
        except FileExistsError:
            here = base + b"/" + name
            if os.path.isdir(here) and not os.path.islink(here):
                xattrs.write(here, OPAQUE_XATTR, b"y")
