"""Supervised calls that make somebody the owner of a file, and those that make devices."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import BinaryIO

from builder.errors import HostError
from builder.layer import noted, ownership
from builder.sandbox.supervision.caller import AT_FDCWD, Caller, Place
from builder.sandbox.supervision.credentials import UNCHANGED, Credentials
from native.constants import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW

_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)


@dataclass(slots=True)
class Files:
    """Files as an image has them: owners and devices recorded where the file system does not hold them.

    links   owners of links and special files, by device and inode
    table   receives those noted meanwhile, in the form of ``noted.note``; None: nobody wants to know
    root    the file system that the command's root is in, as st_dev
    passing records of files in memory file systems, which take none themselves before Linux 6.6; they end with the
            command, as /dev/shm and ``--mount=type=tmpfs`` do, and their inode numbers are not used twice
    """

    caller: Caller
    links: dict[tuple[int, int], ownership.Owner]
    table: BinaryIO | None
    root: int = 0
    passing: dict[tuple[int, int], ownership.Record] = field(default_factory=dict)

    def status(self, place: Place) -> os.stat_result:
        """What an image would say of it."""
        path, follow = place
        status = os.stat(path, follow_symlinks=follow)
        record = ownership.read(path, follow=follow) or self._passing(status)
        return ownership.told_status(status, record, self._of_link(status))

    def recorded(self, place: Place) -> os.stat_result | None:
        """As ``status``, of what anything is recorded of; else None, told cheaply, for it is asked of every file.

        raises   OSError
        """
        path, follow = place
        record = ownership.read(path, follow=follow)
        if record is None and not self.links and not self.passing:
            return None
        status = os.stat(path, follow_symlinks=follow)
        record = record or self._passing(status)
        owner = self._of_link(status)
        return ownership.told_status(status, record, owner) if record is not None or owner is not None else None

    def noted(self, place: Place) -> ownership.Owner | None:
        """What is noted of a link or special file."""
        if not self.links:
            return None
        try:
            return self._of_link(os.stat(place[0], follow_symlinks=place[1]))
        except OSError:
            return None

    def is_special(self, place: Place) -> bool:
        """Whether it is a link or special file."""
        try:
            mode = os.stat(place[0], follow_symlinks=place[1]).st_mode
        except OSError:
            return False
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def _of_link(self, status: os.stat_result) -> ownership.Owner | None:
        # A file or folder may have the inode of a link that was removed.
        if not self.links or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            return None
        return self.links.get((status.st_dev, status.st_ino))

    def give(self, place: Place, uid: int, gid: int) -> None:
        """Make it *uid*'s and *gid*'s, UNCHANGED leaving one."""
        path, follow = place
        if UNCHANGED in (uid, gid):
            now = self.status(place)
            uid, gid = now.st_uid if uid == UNCHANGED else uid, now.st_gid if gid == UNCHANGED else gid
        try:
            held = ownership.give(path, uid, gid, follow=follow)
        except HostError:
            if not self._let_pass(place, uid, gid, None):
                raise
            return
        if self.passing:
            self._forget(place)
        if held:
            if self.noted(place) is not None:
                self.note(place, uid, gid)  # the line before says something else
        else:
            self.note(place, uid, gid)

    def note(self, place: Place, uid: int, gid: int) -> None:
        """Remember whose a link or special file is that is called so now."""
        path, follow = place
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        try:
            status = os.fstat(fd)
            name = os.readlink(b"self/fd/%d" % fd)
        finally:
            os.close(fd)
        self.links[status.st_dev, status.st_ino] = uid, gid
        if self.table is not None and name.startswith(b"/"):
            self.table.write(noted.line(name.lstrip(b"/"), (uid, gid), status.st_ino))
            self.table.flush()

    def make_device(self, place: Place, mode: int, rdev: int, owner: ownership.Owner) -> None:
        """An empty file that stands for a device."""
        path, _ = place
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
        fd = os.open(path, flags, mode & 0o777 & ~self.caller.umask)
        try:
            device = stat.S_IFMT(mode), rdev
            try:
                ownership.give(fd, *owner, device=device, fresh=True)
            except HostError:
                if not self._let_pass((b"self/fd/%d" % fd, True), *owner, device):
                    raise
        finally:
            os.close(fd)

    def _passing(self, status: os.stat_result) -> ownership.Record | None:
        return self.passing.get((status.st_dev, status.st_ino)) if self.passing else None

    def _let_pass(self, place: Place, uid: int, gid: int, device: tuple[int, int] | None) -> bool:
        """Remember here what could not be recorded, if the file's end is the command's."""
        path, follow = place
        status = os.stat(path, follow_symlinks=follow)
        if status.st_dev == self.root or not self.caller.in_memory(status.st_dev):
            return False
        old = self._passing(status)
        device = device or ((old.kind, old.rdev) if old is not None else (0, 0))
        record = ownership.Record(uid, gid, status.st_uid, status.st_gid, *device)
        self.passing[status.st_dev, status.st_ino] = record
        return True

    def _forget(self, place: Place) -> None:
        """As the file system holds the owner now, all that is left to remember is a device."""
        path, follow = place
        status = os.stat(path, follow_symlinks=follow)
        old = self.passing.pop((status.st_dev, status.st_ino), None)
        if old is not None and old.kind:
            told = status.st_uid, status.st_gid
            self.passing[status.st_dev, status.st_ino] = ownership.Record(*told, *told, old.kind, old.rdev)


class Owning:
    """The calls: one ``_on_`` method each, that returns the call's value, or None to let the kernel go on with it."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._caller = files.caller

    def _on_chown(self, path: int, uid: int, gid: int, *_: int) -> int | None:
        return self._give(self._caller.at(AT_FDCWD, path), uid, gid)

    def _on_lchown(self, path: int, uid: int, gid: int, *_: int) -> int | None:
        return self._give(self._caller.at(AT_FDCWD, path, follow=False), uid, gid)

    def _on_fchown(self, fd: int, uid: int, gid: int, *_: int) -> int | None:
        return self._give(self._caller.open(fd), uid, gid)

    def _on_fchownat(self, folder: int, path: int, uid: int, gid: int, flags: int, *_: int) -> int | None:
        follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
        return self._give(self._caller.at(folder, path, follow=follow, empty=empty), uid, gid)

    def _on_mknod(self, path: int, mode: int, rdev: int, *_: int) -> int | None:
        return self.node(AT_FDCWD, path, mode, rdev)

    def _on_mknodat(self, folder: int, path: int, mode: int, rdev: int, *_: int) -> int | None:
        return self.node(folder, path, mode, rdev)

    def _on_chroot(self, *_: int) -> None:
        """From now on a path that begins with "/" need not be one of ours."""
        self._caller.chroots = True

    def _give(self, place: Place, uid: int, gid: int) -> int | None:
        uid, gid = uid & UNCHANGED, gid & UNCHANGED
        try:
            if not self.may_give(place, uid, gid):
                return None
            self._files.give(place, uid, gid)
        except FileNotFoundError:
            stream = self._caller.stream_behind(place)
            if stream is None:
                raise
            self._files.give(stream, uid, gid)
        return 0

    def may_give(self, place: Place, uid: int, gid: int) -> bool:
        """Whether the caller may do this; the kernel refuses it by itself."""
        return self._caller.may("CAP_CHOWN")

    def node(self, folder: int, path: int, mode: int, rdev: int) -> int | None:
        """As mknodat(2)."""
        rdev &= 0xFFFFFFFF
        if stat.S_IFMT(mode) not in _DEVICES or (stat.S_ISCHR(mode) and rdev == 0) or not self.may_make_devices():
            # A character device 0:0 is a deletion in an overlay, and the kernel refuses it there.
            return None
        self._files.make_device(self._caller.at(folder, path, follow=False), mode, rdev, self.owner_of_new())
        return 0

    def may_make_devices(self) -> bool:
        """Whether the caller may."""
        return self._caller.may("CAP_MKNOD")

    def owner_of_new(self) -> ownership.Owner:
        """Whose the caller's new files are."""
        return 0, 0


def refuse_unless_allowed(who: Credentials, status: os.stat_result, uid: int, gid: int) -> None:
    """chown(2): only root gives files away; an owner may choose among its groups. raises OSError, EPERM."""
    if who.privileged:
        return
    keeps = uid in (UNCHANGED, status.st_uid)
    if not (who.users.files == status.st_uid and keeps and (gid in (UNCHANGED, status.st_gid) or who.belongs_to(gid))):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
