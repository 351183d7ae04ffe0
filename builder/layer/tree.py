"""A tree that is being filled from a hostile archive: one method per kind of member.

Most files cost four calls: open, write, utimensat, close. Owners and modes are set only where they differ from what a
new file has. ``Folders`` keeps every path inside.

source   OCI image-spec, layer.md, "Applying Changesets"
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from builder.layer import ownership, xattrs
from builder.layer.folders import OVERLAY, Folders, bad, clean, is_whiteout
from builder.layer.members import Member
from builder.layer.reader import Reader

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class Tree(Folders):
    """See the module's text.

    through_links, overlay   as for ``Folders``
    owner                    overrides the owners that members tell
    user_attributes          ``user.*`` is kept, not file capabilities alone
    """

    def __init__(
        self,
        root: Path,
        *,
        through_links: bool,
        overlay: bool = False,
        owner: tuple[int, int] | None = None,
        user_attributes: bool = True,
    ) -> None:
        super().__init__(root, through_links=through_links, overlay=overlay)
        self._owner = owner
        self._user_attributes = user_attributes
        self._unmasked = _SPECIAL | _umask()
        self._times: dict[bytes, int] = {}
        self.root_is_told = False
        self.owners: dict[bytes, tuple[int, int]] = {}
        """Of links and special files, by path as it is, where the file system could not hold them."""
        self.notes: list[str] = []
        """What could not be kept, for people."""

    def place(self, member: Member, path: bytes, reader: Reader) -> None:
        """Put *member* at *path* (cleaned, not the root), instead of what is there; folders are joined."""
        parent, name = self.enter(path)
        kind = member.kind
        if kind == b"0":
            self._file(member, parent, name, reader)
        elif kind == b"5":
            self._folder(member, parent, name)
        elif kind == b"2":
            self._new(lambda: os.symlink(member.link, name, dir_fd=parent), parent, name)
            self._dress_by_name(member, parent, name)
        else:
            self._node(member, parent, name)

    def _new(self, make: Callable[[], None], parent: int, name: bytes) -> None:
        try:
            make()
        except FileExistsError:
            self.remove(parent, name)
            make()

    def _file(self, member: Member, parent: int, name: bytes, reader: Reader) -> None:
        mode = member.mode
        try:
            file = os.open(name, _NEW, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self.remove(parent, name)
            file = os.open(name, _NEW, mode & 0o777, dir_fd=parent)
        try:
            if member.pieces is not None:
                _write_pieces(file, member, reader)
            elif member.size:
                data = reader.view(member.size)
                if data is None:
                    for part in reader.chunks(member.size):
                        _write(file, part)
                elif os.write(file, data) != len(data):
                    os.lseek(file, 0, os.SEEK_SET)
                    _write(file, data)
            uid, gid = self._owner or (member.uid, member.gid)
            if uid or gid or self._inherits:
                ownership.give(file, uid, gid, fresh=True)
            if mode & self._unmasked:
                os.fchmod(file, mode)
            # After fchown, which removes capabilities (chown(2)).
            if member.xattrs:
                self._xattrs(file, member)
            os.utime(file, ns=(member.mtime, member.mtime))
        finally:
            os.close(file)

    def _own(
        self, parent: int, name: bytes, uid: int, gid: int, *, fresh: bool = True, device: tuple[int, int] | None = None
    ) -> None:
        if not ownership.give(b"/proc/self/fd/%d/%b" % (parent, name), uid, gid, fresh=fresh, device=device):
            self.owners[self._place + name] = uid, gid

    def _folder(self, member: Member, parent: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self.remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
                if self._overlay and is_whiteout(status):
                    self._mark(self._place + name)
        real = self._place + name
        self.implied.pop(real, None)
        self._known.add(real)
        self._own(parent, name, *(self._owner or (member.uid, member.gid)), fresh=False)
        os.chmod(name, member.mode, dir_fd=parent)
        if member.xattrs:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._xattrs(folder, member)
            finally:
                os.close(folder)
        self._times[real] = member.mtime

    def _node(self, member: Member, parent: int, name: bytes) -> None:
        kind = {b"3": stat.S_IFCHR, b"4": stat.S_IFBLK, b"6": stat.S_IFIFO}[member.kind]
        if kind == stat.S_IFCHR and member.rdev == 0:
            # overlayfs would take it for a deletion
            self._note(self._place + name, "a character device 0:0 cannot be kept")
            return
        if kind == stat.S_IFIFO:
            self._new(lambda: os.mknod(name, kind | 0o600, dir_fd=parent), parent, name)
            self._dress_by_name(member, parent, name)
            return
        try:
            real = ownership.make_device(name, parent, kind, member.rdev)
        except FileExistsError:
            self.remove(parent, name)
            real = ownership.make_device(name, parent, kind, member.rdev)
        self._dress_by_name(member, parent, name, None if real else (kind, member.rdev))

    def _dress_by_name(self, member: Member, parent: int, name: bytes, device: tuple[int, int] | None = None) -> None:
        uid, gid = self._owner or (member.uid, member.gid)
        if uid or gid or self._inherits or device:
            self._own(parent, name, uid, gid, device=device)
        if member.kind != b"2":
            os.chmod(name, member.mode, dir_fd=parent)
        if member.xattrs:
            self._note(self._place + name, "attributes are kept on files and folders only")
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)

    def hard_link(self, path: bytes, target: bytes) -> bool:
        """Make *path* another name of *target*; False if there is no such file here."""
        try:
            folder, _, name = target.rpartition(b"/")
            real = self.resolve(folder, make=False)
            real = real + b"/" + name if real else name
            status = os.stat(real, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode) or not name:
            raise bad(path, "is a hard link to a folder")
        if self._overlay and is_whiteout(status):
            return False
        if self.real(path) == real:
            return True
        parent, last = self.enter(path)
        self._new(
            lambda: os.link(real, last, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False), parent, last
        )
        if real in self.owners:
            self.owners[self._place + last] = self.owners[real]
        return True

    def root(self, member: Member) -> None:
        """Let *member* be the root folder's metadata."""
        if member.kind != b"5":
            raise bad(b"/", "is not a folder in the archive")
        here = b"/proc/self/fd/%d/." % self._root
        ownership.give(here, member.uid, member.gid)
        os.chmod(here, member.mode)
        folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._xattrs(folder, member)
        finally:
            os.close(folder)
        self._times[b""] = member.mtime
        self.root_is_told = True

    def prune(self, folder: bytes, keep: set[bytes]) -> None:
        """Remove all that is in *folder* (as it is) but what *keep* names."""
        prefix = folder + b"/" if folder else b""
        for name in os.listdir(self._path(folder)):
            path = prefix + os.fsencode(name)
            if path not in keep:
                parent, last = self.enter(path)
                self.remove(parent, last)
            elif stat.S_ISDIR(os.stat(path, dir_fd=self._root, follow_symlinks=False).st_mode):
                self.prune(path, keep)

    def whiteout(self, path: bytes) -> bool:
        """Hide *path* of the layers below by a device 0:0; False if this tree has something there, which hides it."""
        parent, name = self.enter(path)
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                self._mark(self._place + name)
            return False
        return True

    def opaque(self, folder: bytes) -> None:
        """Hide what the layers below hold in *folder*."""
        self._mark(self.resolve(folder))

    def _xattrs(self, file: int, member: Member) -> None:
        for name, value in member.xattrs.items():
            if name.startswith(ownership.PREFIX):  # it would speak for us
                continue
            if name != xattrs.CAPABILITY and not (self._user_attributes and name.startswith(b"user.")):
                self._note(clean(member.name), f"the attribute {os.fsdecode(name)!r} is not kept")
                continue
            if self._overlay and name.startswith(OVERLAY):
                name = OVERLAY + b"overlay." + name[len(OVERLAY) :]
            value = xattrs.version_2(value) if name == xattrs.CAPABILITY else value
            if not xattrs.write(file, name, value):
                self._note(clean(member.name), f"the attribute {os.fsdecode(name)!r} cannot be set here")

    def _note(self, path: bytes, what: str) -> None:
        if len(self.notes) < 100:
            self.notes.append(f"{os.fsdecode(path)!r}: {what}")

    def settle_times(self) -> None:
        """Give folders their times, after all was put into them."""
        for real, mtime in self._times.items():
            try:
                if stat.S_ISDIR(os.stat(real or b".", dir_fd=self._root, follow_symlinks=False).st_mode):
                    os.utime(real or b".", ns=(mtime, mtime), dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:  # a later member took its place
                continue


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _write_pieces(file: int, member: Member, reader: Reader) -> None:
    os.ftruncate(file, member.whole)
    for offset, length in member.pieces or ():
        os.lseek(file, offset, os.SEEK_SET)
        for part in reader.chunks(length):
            _write(file, part)


def _umask() -> int:
    # umask(2) can only be read by setting it, which other threads would feel. source: proc_pid_status(5), "Umask"
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass  # not known: set every mode
    return 0o777
