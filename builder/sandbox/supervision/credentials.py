"""Whose a process is, as a value, and what each call makes of it: pure.

source   credentials(7); setuid(2), setreuid(2), setresuid(2), setfsuid(2); linux, kernel/sys.c, whose rules these are.
         Who has the user id 0 holds the capabilities.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

UNCHANGED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of one kind, users' or groups': real, effective, saved, and that of the file system."""

    real: int = 0
    effective: int = 0
    saved: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the kernel keeps of a process.

    groups  the supplementary ones;  keeps  whether it said that it keeps its capabilities with other ids
    """

    users: Ids = Ids()
    primary: Ids = Ids()
    groups: tuple[int, ...] = ()
    keeps: bool = False

    @property
    def privileged(self) -> bool:
        """Whether it may become anybody. source: prctl(2), PR_SET_KEEPCAPS"""
        return self.users.effective == 0 or self.keeps

    def belongs_to(self, group: int) -> bool:
        """Whether it is a member of *group*."""
        return group == self.primary.files or group in self.groups


ROOT = Credentials()


def set_one(ids: Ids, new: int, *, privileged: bool) -> Ids:
    """setuid(2), setgid(2). raises OSError: EINVAL, EPERM."""
    if new == UNCHANGED:
        raise OSError(errno.EINVAL, "invalid id")
    if privileged:
        return Ids(new, new, new, new)
    if new not in (ids.real, ids.saved):
        raise OSError(errno.EPERM, "not permitted")
    return replace(ids, effective=new, files=new)


def set_two(ids: Ids, real: int, effective: int, *, privileged: bool) -> Ids:
    """setreuid(2), setregid(2)."""
    allowed = real in (UNCHANGED, ids.real, ids.effective) and effective in (
        UNCHANGED,
        ids.real,
        ids.effective,
        ids.saved,
    )
    if not (privileged or allowed):
        raise OSError(errno.EPERM, "not permitted")
    new_real = ids.real if real == UNCHANGED else real
    new = ids.effective if effective == UNCHANGED else effective
    saves = real != UNCHANGED or (effective != UNCHANGED and effective != ids.real)
    return Ids(new_real, new, new if saves else ids.saved, new)


def set_three(ids: Ids, real: int, effective: int, saved: int, *, privileged: bool) -> Ids:
    """setresuid(2), setresgid(2)."""
    held = (UNCHANGED, ids.real, ids.effective, ids.saved)
    if not (privileged or (real in held and effective in held and saved in held)):
        raise OSError(errno.EPERM, "not permitted")
    new = ids.effective if effective == UNCHANGED else effective
    return Ids(
        ids.real if real == UNCHANGED else real,
        new,
        ids.saved if saved == UNCHANGED else saved,
        new,
    )


def set_files(ids: Ids, new: int, *, privileged: bool) -> Ids:
    """setfsuid(2), setfsgid(2): what is not permitted changes nothing."""
    if new == UNCHANGED or not (privileged or new in (ids.real, ids.effective, ids.saved, ids.files)):
        return ids
    return replace(ids, files=new)


def executed(who: Credentials, user: int | None, group: int | None) -> Credentials:
    """Those of a program whose file has the set-user-ID bit (then *user* is its owner), or the set-group-ID bit."""
    users = who.users.effective if user is None else user
    groups = who.primary.effective if group is None else group
    return Credentials(
        Ids(who.users.real, users, users, users), Ids(who.primary.real, groups, groups, groups), who.groups
    )
