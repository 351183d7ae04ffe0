"""Where nothing can be mounted: what would lie over the root is put into it, and taken out again after the command.

::

    <tree>/            the root, a copy that is this command's alone
    <tree>/../aside/   what was in the way, by number

What is in the way is moved aside and comes back by a rename, so that it is untouched whatever the command did. What is
put there is made (files, folders in place of memory file systems), or moved there and back (``Extra.movable``: a copy
that the caller made, or a cache whose lock is held). Nothing that was put there stays: a link or a rename by the
command has the effect of a copy. If this process is killed the draft is never committed, and the next build removes it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import BuilderError, DockerfileError, HostError
from builder.layer.removal import remove_tree
from builder.sandbox.command import Extra
from builder.sandbox.jail.unlinking import part_links
from builder.sandbox.stubs import Points, PutBack, clean_stubs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Placed:
    """One thing put into the root.

    path           where it is, relative to the root; folder, name: the same as an open folder and a name in it
    is_folder      whether what was there before is one
    source, status   where it came from and goes back to, and what it was then
    secret         an open descriptor of a file of which nothing may stay
    """

    path: bytes
    folder: int
    name: str
    is_folder: bool
    source: Path | None = None
    status: os.stat_result | None = None
    secret: int = -1


@dataclass(slots=True)
class _Times:
    """A folder's (access, modification) before anything was put there, and its modification after; in nanoseconds."""

    folder: int
    before: tuple[int, int]
    after: int = 0


class Places:
    """What was put into the root *tree*, for ``take_out``."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._aside = tree.parent / "aside"
        self._aside.mkdir(mode=0o700, exist_ok=True)
        self._points = Points(os.open(tree, _FOLDER))
        self._placed: list[_Placed] = []
        self._times: dict[tuple[int, int], _Times] = {}
        self._moved: dict[Path, str] = {}

    def folder(
        self,
        target: str,
        *,
        mode: int = 0o755,
        owner: tuple[int, int] = (0, 0),
        kept: bool = False,
        keeps_mode: bool = False,
    ) -> Path:
        """An empty folder at *target*; its path.

        kept        the mount point stays, if it had to be made
        keeps_mode  a folder that was there gives its mode (``Extra.keeps_mode``)
        """
        made = self._points.made
        place, _ = self._clear(target, folder=True, kept=kept)
        if keeps_mode and self._points.made == made:
            mode = stat.S_IMODE(os.stat(self._aside / str(len(self._placed) - 1)).st_mode)
        os.mkdir(place)
        os.chown(place, *owner)
        os.chmod(place, mode)
        return place

    def file(self, extra: Extra) -> None:
        """A file with the extra's content."""
        place, placed = self._clear(extra.target, folder=False)
        fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if extra.secret:
            placed.secret = os.dup(fd)
        with os.fdopen(fd, "wb") as file:
            file.write(extra.content)
            os.fchown(fd, extra.uid, extra.gid)
            os.fchmod(fd, extra.mode)

    def move(self, source: Path, target: str) -> None:
        """What is at *source*, which is gone from there until it is taken out again."""
        first = self._moved.get(source)
        if first is not None:
            # The same once more: a link shows it as a second mount would.
            os.symlink(first, self._clear(target, folder=True)[0])
            return
        status = os.stat(source, follow_symlinks=False)
        place, placed = self._clear(target, folder=stat.S_ISDIR(status.st_mode))
        os.rename(source, place)
        placed.source, placed.status = source, status
        self._moved[source] = "/" + os.path.relpath(place, self.tree)

    def _clear(self, target: str, *, folder: bool, kept: bool = False) -> tuple[Path, _Placed]:
        """The path of *target*, its links followed inside the root, where nothing is any more."""
        fd = self._points.find(target, folder=folder, kept=kept)
        try:
            is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
            place = Path(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
        if is_folder != folder:
            number = errno.EISDIR if is_folder else errno.ENOTDIR
            raise OSError(number, os.strerror(number), target)
        if place == self.tree:
            raise HostError("nothing can be put in place of the root itself", code="mount-over-root")
        parent = os.open(place.parent, _FOLDER)
        status = os.fstat(parent)
        times = _Times(parent, (status.st_atime_ns, status.st_mtime_ns))
        self._times.setdefault((status.st_dev, status.st_ino), times)
        os.rename(place, self._aside / str(len(self._placed)))
        placed = _Placed(os.fsencode(os.path.relpath(place, self.tree)), parent, place.name, is_folder)
        self._placed.append(placed)
        return place, placed

    def settle(self) -> None:
        """All is in place: whoever changes a folder from now on is the command."""
        for times in self._times.values():
            times.after = os.fstat(times.folder).st_mtime_ns

    def take_out(self) -> PutBack:
        """Take all out, and put back what was there; the files among that.

        raises   DockerfileError if something secret had been linked or renamed into the root; that is empty by then
        """
        seen = [(times, os.fstat(times.folder)) for times in self._times.values()]
        stolen: BuilderError | None = None
        for number in reversed(range(len(self._placed))):
            placed = self._placed[number]
            self._take(placed)
            with suppress(FileNotFoundError):  # its folder is gone, and so nothing was to be kept there
                os.rename(self._aside / str(number), placed.name, dst_dir_fd=placed.folder)
            if placed.secret >= 0 and os.fstat(placed.secret).st_nlink:
                os.ftruncate(placed.secret, 0)
                where = "/" + os.fsdecode(placed.path)
                stolen = DockerfileError(
                    f"the command linked or renamed the secret at {where} into the image",
                    code="secret-kept",
                    hint="read it where it is; if the image is to hold it, it is no secret: COPY it",
                )
        for times, status in seen:
            unchanged = status.st_mtime_ns == times.after
            os.utime(times.folder, ns=times.before if unchanged else (status.st_atime_ns, status.st_mtime_ns))
        clean_stubs(self.tree, self._points.stubs)
        # Empty, unless the command removed the folder that something was to go back to.
        parent = os.open(self._aside.parent, _FOLDER)
        remove_tree(os.fsencode(self._aside.name), parent)
        os.close(parent)
        if stolen is not None:
            raise stolen
        return PutBack(paths=tuple(placed.path for placed in self._placed if not placed.is_folder))

    def _take(self, placed: _Placed) -> None:
        if placed.source is None:
            with suppress(FileNotFoundError):
                remove_tree(os.fsencode(placed.name), placed.folder)
            return
        assert placed.status is not None
        try:
            found = os.stat(placed.name, dir_fd=placed.folder, follow_symlinks=False)
            if stat.S_IFMT(found.st_mode) == stat.S_IFMT(placed.status.st_mode):
                os.rename(placed.name, placed.source, src_dir_fd=placed.folder)
                part_links(placed.source)
                return
            remove_tree(os.fsencode(placed.name), placed.folder)
        except FileNotFoundError:
            pass
        # A mount point cannot be removed; what is in it can.
        if stat.S_ISDIR(placed.status.st_mode):
            os.mkdir(placed.source)
            os.chown(placed.source, placed.status.st_uid, placed.status.st_gid)
            os.chmod(placed.source, stat.S_IMODE(placed.status.st_mode))
