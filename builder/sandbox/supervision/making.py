"""Supervised calls that make files, where one id only is mapped: what another than root makes is recorded as its own.

Root's new files need no record, unless they lie in a folder with the set-group-ID bit, and the kernel makes them.

source   open(2), mkdir(2), "NOTES" on the group of new files; inode(7), "S_ISGID"
"""

from __future__ import annotations

import os
import stat
import struct

from builder.layer.ownership import Owner
from builder.sandbox.supervision.caller import AT_FDCWD, Place
from builder.sandbox.supervision.identities import Identities
from builder.sandbox.supervision.owning import Files
from native.notify import Listener

_HOW = struct.Struct("=QQQ")
"""struct open_how: flags, mode, resolve. source: openat2(2)."""
_CREATE = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
ANSWERED = -1
"""What no call returns: the caller was answered already."""


class Making:
    """The calls: one ``_on_`` method each, None to let the kernel do it."""

    def __init__(self, files: Files, identities: Identities, listener: Listener) -> None:
        self._files = files
        self._caller = files.caller
        self._identities = identities
        self._listener = listener

    def _on_mkdir(self, path: int, mode: int, *_: int) -> int | None:
        return self._folder(self._caller.at(AT_FDCWD, path, follow=False), mode)

    def _on_mkdirat(self, folder: int, path: int, mode: int, *_: int) -> int | None:
        return self._folder(self._caller.at(folder, path, follow=False), mode)

    def _folder(self, place: Place, mode: int) -> int | None:
        owner = self._owner(place)
        if owner is None:
            return None
        os.mkdir(place[0], mode & 0o1777 & ~self._caller.umask)
        self._files.give(place, *owner)
        return 0

    def _on_symlink(self, target: int, path: int, *_: int) -> int | None:
        return self._link(target, self._caller.at(AT_FDCWD, path, follow=False))

    def _on_symlinkat(self, target: int, folder: int, path: int, *_: int) -> int | None:
        return self._link(target, self._caller.at(folder, path, follow=False))

    def _link(self, target: int, place: Place) -> int | None:
        owner = self._owner(place, special=True)
        if owner is None:
            return None
        os.symlink(self._caller.text(target), place[0])
        return self._given(place, owner)

    def _on_mknod(self, path: int, mode: int, rdev: int, *_: int) -> int | None:
        return self._node(AT_FDCWD, path, mode, rdev)

    def _on_mknodat(self, folder: int, path: int, mode: int, rdev: int, *_: int) -> int | None:
        return self._node(folder, path, mode, rdev)

    def _node(self, folder: int, path: int, mode: int, rdev: int) -> int | None:
        if stat.S_IFMT(mode) in (stat.S_IFCHR, stat.S_IFBLK):
            return self._identities.node(folder, path, mode, rdev)
        place = self._caller.at(folder, path, follow=False)
        owner = self._owner(place, special=not stat.S_ISREG(mode))
        if owner is None:
            return None
        os.mknod(place[0], mode & ~self._caller.umask)
        return self._given(place, owner)

    def _given(self, place: Place, owner: Owner) -> int:
        self._files.give(place, *owner)
        if owner == (0, 0):
            self._files.note(place, 0, 0)  # the path may be known as somebody else's
        return 0

    def _on_open(self, path: int, flags: int, mode: int, *_: int) -> int | None:
        return self._file(self._caller.at(AT_FDCWD, path), flags, mode)

    def _on_creat(self, path: int, mode: int, *_: int) -> int | None:
        return self._file(self._caller.at(AT_FDCWD, path), _CREATE, mode)

    def _on_openat(self, folder: int, path: int, flags: int, mode: int, *_: int) -> int | None:
        return self._file(self._caller.at(folder, path), flags, mode)

    def _on_openat2(self, folder: int, path: int, how: int, size: int, *_: int) -> int | None:
        if size & 0xFFFFFFFF < _HOW.size:
            return None
        flags, mode, resolve = _HOW.unpack(self._caller.read(how, _HOW.size))
        if resolve or not flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
            # Whoever restricts how a path is resolved makes files that are root's; no package's script is known to.
            return None
        return self._file(self._caller.at(folder, path), flags, mode)

    def _file(self, place: Place, flags: int, mode: int) -> int | None:
        """A new file is made here, and its descriptor handed over: a second open would find it there already.

        What is there already, a fifo perhaps, is the kernel's to open: we would wait for its other end.
        """
        flags &= 0xFFFFFFFF
        nameless = bool(flags & os.O_TMPFILE & ~os.O_DIRECTORY)
        if not nameless and os.path.lexists(place[0]) and (flags & os.O_EXCL or os.path.exists(place[0])):
            return None
        owner = self._owner((place[0] + b"/x", True) if nameless else place)
        if owner is None:
            return None
        try:
            fd = os.open(place[0], flags | os.O_CLOEXEC | os.O_NOCTTY, mode & 0o7777 & ~self._caller.umask)
        except FileNotFoundError:
            if os.path.islink(place[0]):
                return None  # to /dev/stdout, perhaps, which is another one for whoever called
            raise
        try:
            self._files.give((b"self/fd/%d" % fd, True), *owner)
            self._listener.give(self._caller.identifier, fd, close_on_exec=bool(flags & os.O_CLOEXEC))
        finally:
            os.close(fd)
        return ANSWERED

    def _owner(self, place: Place, *, special: bool = False) -> Owner | None:
        """Whose a new file at *place* is to be; None for root's, which the kernel makes by itself.

        special   a link, fifo or socket, which may get the inode, or the path, of one that somebody else owned: where
                  any is known root's are made, and noted, like others'
        """
        uid, gid = self._identities.owner_of_new()
        above = place[0].rstrip(b"/").rpartition(b"/")[0] or b"/"
        try:
            if os.stat(above).st_mode & stat.S_ISGID:
                gid = self._files.status((above, True)).st_gid
        except OSError:
            return None  # whatever is wrong with it, the kernel says it better
        return (uid, gid) if (uid, gid) != (0, 0) or (special and self._files.links) else None
