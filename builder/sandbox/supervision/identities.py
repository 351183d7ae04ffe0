"""Supervised calls about ids of processes, where one id only is mapped: who they are, and whom they become.

Who a process is must go on to its children and through execve(2), without a race with what it becomes next. The kernel
carries one number for us: RLIMIT_LOCKS, which has meant nothing since Linux 2.4.25, is inherited so and shared by a
process's threads. Its soft limit is the place of the credentials in a list; 0, which a command begins with, is root's.

source   getrlimit(2), "RLIMIT_LOCKS", "Notes"; credentials(7); execve(2)
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
from dataclasses import replace

from builder.errors import HostError
from builder.layer.ownership import Owner
from builder.sandbox.supervision import credentials
from builder.sandbox.supervision.caller import AT_FDCWD, Place
from builder.sandbox.supervision.credentials import ROOT, UNCHANGED, Credentials, Ids
from builder.sandbox.supervision.filters import RLIMIT_LOCKS
from builder.sandbox.supervision.owning import Files, Owning, refuse_unless_allowed
from native.constants import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW

_MOST_GROUPS = 65536
"""source: linux/limits.h, NGROUPS_MAX."""


class Identities(Owning):
    """The calls: one ``_on_`` method each; and who the caller is for those about files."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self.caller = files.caller
        self._known: list[Credentials] = [ROOT]
        self._places: dict[Credentials, int] = {ROOT: 0}

    # Who

    @property
    def who(self) -> Credentials:
        """The caller's credentials."""
        return self.of(self._caller.pid)

    def of(self, pid: int) -> Credentials:
        """Those of another process."""
        try:
            place = resource.prlimit(pid, RLIMIT_LOCKS)[0]
        except OSError:  # killed meanwhile
            return ROOT
        return self._known[place] if 0 <= place < len(self._known) else ROOT

    def _become(self, who: Credentials) -> int:
        place = self._places.get(who)
        if place is None:
            place = self._places[who] = len(self._known)
            self._known.append(who)
        highest = resource.prlimit(self._caller.pid, RLIMIT_LOCKS)[1]
        if 0 <= highest < place:
            raise HostError(
                f"the ids of processes cannot be kept: the hard limit RLIMIT_LOCKS is {highest}",
                code="no-supervisor",
                hint="start pybuild without this limit, which has had no other meaning since Linux 2.4.25",
            )
        resource.prlimit(self._caller.pid, RLIMIT_LOCKS, (place, highest))
        return 0

    def may_give(self, place: Place, uid: int, gid: int) -> bool:
        """As the kernel would say of the ids that the caller takes itself to have."""
        who = self.who
        if not who.privileged:
            refuse_unless_allowed(who, self._files.status(place), uid, gid)
        return True

    def may_make_devices(self) -> bool:
        """Root may; the kernel refuses it to whomever else."""
        if not self.who.privileged:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return True

    def owner_of_new(self) -> Owner:
        """The ids that its file system calls are done with."""
        who = self.who
        return who.users.files, who.primary.files

    # Becoming another

    def _users(self, change: Ids, who: Credentials) -> int:
        return self._become(replace(who, users=change))

    def _primary(self, change: Ids, who: Credentials) -> int:
        return self._become(replace(who, primary=change))

    def _on_setuid(self, uid: int, *_: int) -> int:
        who = self.who
        return self._users(credentials.set_one(who.users, uid & UNCHANGED, privileged=who.privileged), who)

    def _on_setgid(self, gid: int, *_: int) -> int:
        who = self.who
        return self._primary(credentials.set_one(who.primary, gid & UNCHANGED, privileged=who.privileged), who)

    def _on_setreuid(self, real: int, effective: int, *_: int) -> int:
        who, ids = self.who, (real & UNCHANGED, effective & UNCHANGED)
        return self._users(credentials.set_two(who.users, *ids, privileged=who.privileged), who)

    def _on_setregid(self, real: int, effective: int, *_: int) -> int:
        who, ids = self.who, (real & UNCHANGED, effective & UNCHANGED)
        return self._primary(credentials.set_two(who.primary, *ids, privileged=who.privileged), who)

    def _on_setresuid(self, real: int, effective: int, saved: int, *_: int) -> int:
        who, ids = self.who, (real & UNCHANGED, effective & UNCHANGED, saved & UNCHANGED)
        return self._users(credentials.set_three(who.users, *ids, privileged=who.privileged), who)

    def _on_setresgid(self, real: int, effective: int, saved: int, *_: int) -> int:
        who, ids = self.who, (real & UNCHANGED, effective & UNCHANGED, saved & UNCHANGED)
        return self._primary(credentials.set_three(who.primary, *ids, privileged=who.privileged), who)

    def _on_setfsuid(self, uid: int, *_: int) -> int:
        who = self.who
        self._users(credentials.set_files(who.users, uid & UNCHANGED, privileged=who.privileged), who)
        return who.users.files

    def _on_setfsgid(self, gid: int, *_: int) -> int:
        who = self.who
        self._primary(credentials.set_files(who.primary, gid & UNCHANGED, privileged=who.privileged), who)
        return who.primary.files

    def _on_setgroups(self, count: int, address: int, *_: int) -> int:
        who, count = self.who, count & UNCHANGED
        if not who.privileged:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if count > _MOST_GROUPS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        data = self._caller.read(address, 4 * count) if count else b""
        # The kernel keeps them sorted, and tells them so: linux, kernel/groups.c, groups_sort
        return self._become(replace(who, groups=tuple(sorted(struct.unpack(f"={count}I", data)))))

    def _on_prctl(self, _option: int, keeps: int, *_: int) -> None:
        who = self.who
        if who.users.effective == 0 or not keeps:
            self._become(replace(who, keeps=bool(keeps)))

    def _on_setrlimit(self, *_: int) -> int:
        """Of RLIMIT_LOCKS, which is ours: PAM sets every limit anew, to that of the first process."""
        return 0

    def _on_prlimit64(self, _pid: int, _resource: int, new: int, *_: int) -> int | None:
        return 0 if new else None

    def _on_capset(self, *_: int) -> int | None:
        """Root gives its own up as it likes. Another one has none to give up; ours let it do what it could anyway."""
        return None if self.who.privileged else 0

    # Who am I

    def _on_getuid(self, *_: int) -> int:
        return self.who.users.real

    def _on_geteuid(self, *_: int) -> int:
        return self.who.users.effective

    def _on_getgid(self, *_: int) -> int:
        return self.who.primary.real

    def _on_getegid(self, *_: int) -> int:
        return self.who.primary.effective

    def _on_getresuid(self, real: int, effective: int, saved: int, *_: int) -> int:
        return self._three(self.who.users, (real, effective, saved))

    def _on_getresgid(self, real: int, effective: int, saved: int, *_: int) -> int:
        return self._three(self.who.primary, (real, effective, saved))

    def _three(self, ids: Ids, addresses: tuple[int, int, int]) -> int:
        for number, address in zip((ids.real, ids.effective, ids.saved), addresses, strict=True):
            self._caller.write(address, struct.pack("=I", number))
        return 0

    def _on_getgroups(self, size: int, address: int, *_: int) -> int:
        groups = self.who.groups
        if size & UNCHANGED:
            if size & UNCHANGED < len(groups):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._caller.write(address, struct.pack(f"={len(groups)}I", *groups))
        return len(groups)

    # Programs that change who runs them

    def _on_execve(self, path: int, *_: int) -> None:
        self._executed(self._caller.at(AT_FDCWD, path))

    def _on_execveat(self, folder: int, path: int, _argv: int, _env: int, flags: int, *_: int) -> None:
        follow, empty = not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH)
        self._executed(self._caller.at(folder, path, follow=follow, empty=empty))

    def _executed(self, place: Place) -> None:
        # If the kernel then refuses to execute it the caller has changed all the same: what it takes for a program with
        # such a bit is none only by mistake.
        try:
            status = os.stat(place[0], follow_symlinks=place[1])
        except OSError:
            return
        mode, who = status.st_mode, self.who
        uid = gid = None
        if stat.S_ISREG(mode) and mode & 0o111 and mode & (stat.S_ISUID | stat.S_ISGID) and not _is_script(place[0]):
            told = self._files.status(place)
            uid = told.st_uid if mode & stat.S_ISUID else None
            gid = told.st_gid if mode & stat.S_ISGID and mode & stat.S_IXGRP else None
        changed = credentials.executed(who, uid, gid)
        if changed != who:
            self._become(changed)


def _is_script(path: bytes) -> bool:
    """execve(2): the bits are ignored for scripts."""
    with open(path, "rb", buffering=0) as file:
        return file.read(2) == b"#!"
