"""The folders of a tree that is being filled, and how a path finds its own: never out of the root.

Every name is first resolved to a path that is known to hold no link: component by component below the root's
descriptor, links resolved as if the root were "/", ".." stopping there. Then the folder is opened with ``openat2`` and
RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, so a mistake above would be an error and not an escape. Nobody else writes to the
tree meanwhile.

source   openat2(2); path_resolution(7); Documentation/filesystems/overlayfs.rst
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Self

from builder.errors import HostError, ImageError
from builder.layer import ownership, xattrs
from builder.layer.removal import remove_tree
from native import syscalls

_MOST_LINKS = 40  # MAXSYMLINKS, path_resolution(7)
CONFINED = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS

# overlayfs keeps its own marks under this prefix when mounted with userxattr; what an image holds there is escaped as
# the kernel does it (overlayfs.rst, "Nesting overlayfs mounts").
OVERLAY = b"user.overlay."
OPAQUE_XATTR = b"user.overlay.opaque"


def clean(name: bytes) -> bytes:
    """*name* relative to the root: no "." and no empty parts, ".." taken back as far as the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            parts[-1:] = []
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this file for a deletion: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Folders:
    """See the module's text.

    through_links  whether folders that are missing behind a link are made, as for layers; else that is an error
    overlay        whether the tree becomes a layer of overlayfs, so that its marks mean something
    """

    def __init__(self, root: Path, *, through_links: bool, overlay: bool) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._through_links = through_links
        self._overlay = overlay
        self._real: dict[bytes, bytes] = {}  # a folder as it is named → as it is
        self._known: set[bytes] = set()  # folders, as they are
        self._here: bytes | None = None  # the folder that is open, as it is named
        self._place = b""  # the same, as it is, with a "/" at its end
        self._fd = -1
        self._inherits = False  # whether it gives its group to new files
        self.implied: dict[bytes, None] = {}
        """Folders that no member told but that stand above one, in the order in which they were made."""
        self.opaques: dict[bytes, None] = {}
        """Folders that were marked to hide what lies below them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        os.close(self._root)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._here, self._fd = None, -1

    def enter(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of the folder that *path* is in, made if it is missing, and the last part of *path*."""
        folder, _, name = path.rpartition(b"/")
        if folder != self._here:
            real = self.resolve(folder)
            self._close()
            self._fd = syscalls.openat2(
                self._root, real or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, 0, CONFINED
            )
            self._inherits = bool(os.fstat(self._fd).st_mode & stat.S_ISGID)
            self._here, self._place = folder, real + b"/" if real else b""
        return self._fd, name

    def real(self, path: bytes) -> bytes:
        """*path* as it is: the folder above it resolved, the last part not."""
        folder, _, name = path.rpartition(b"/")
        real = self.resolve(folder)
        return real + b"/" + name if real else name

    def resolve(self, folder: bytes, *, make: bool = True) -> bytes:
        """The folder *folder* as it is, without links; made if missing. With *make* off: FileNotFoundError."""
        known = self._real.get(folder)
        if known is not None:
            return known
        where: list[bytes] = []
        todo = folder.split(b"/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                where[-1:] = []
                continue
            if not part or part == b".":
                continue
            here = b"/".join((*where, part))
            target = self._link(here, make, through=links > 0)
            if target is None:
                where.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise bad(folder, "is behind a loop of links")
            if target.startswith(b"/"):
                where = []
            todo.extend(reversed(target.split(b"/")))
        real = b"/".join(where)
        self._real[folder] = real
        return real

    def _link(self, here: bytes, make: bool, *, through: bool) -> bytes | None:
        """The target of *here* if it is a link; None if it is a folder, which is made if it is missing."""
        if here in self._known:
            return None
        try:
            status = os.stat(here, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                raise
            if through and not self._through_links:
                raise bad(here, "is behind a link that leads to nothing here, perhaps outside") from None
            self._imply(here)
            status = os.stat(here, dir_fd=self._root, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(here, dir_fd=self._root)
        if self._overlay and make and is_whiteout(status):
            os.unlink(here, dir_fd=self._root)
            self._imply(here)
            self._mark(here)
        elif not stat.S_ISDIR(status.st_mode):
            if not make:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), here)
            raise bad(here, "is no folder, and the archive has something in it")
        self._known.add(here)
        return None

    def _imply(self, here: bytes) -> None:
        os.mkdir(here, 0o755, dir_fd=self._root)
        ownership.give(self._path(here), 0, 0, fresh=True)
        os.chmod(here, 0o755, dir_fd=self._root)
        self.implied[here] = None

    def remove(self, parent: int, name: bytes) -> None:
        """Remove *name* of the open folder *parent*, whatever it is."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            remove_tree(name, parent)
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            # What was known of paths may have gone with it.
            self._real.clear()
            self._known.clear()
            self._here = None

    def _mark(self, real: bytes) -> None:
        self.opaques[real] = None
        if not xattrs.write(self._path(real), OPAQUE_XATTR, b"y"):
            raise HostError(
                "the store's file system keeps no user attributes, which overlayfs needs", code="no-user-xattrs"
            )

    def _path(self, real: bytes) -> bytes:
        return b"/proc/self/fd/%d/%b" % (self._root, real)


def bad(path: bytes, why: str) -> ImageError:
    """The archive has something at *path* that cannot be."""
    return ImageError(f"{os.fsdecode(path)!r} {why}", code="malformed-archive")
