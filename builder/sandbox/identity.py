"""Who this process may become behind the gate: which ids a tree's owners are mapped to."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from builder.errors import HostError, UsageError
from native.constants import CAPABILITIES

_SETUP_HINT = "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """*count* ids from *inside* on are, outside, those from *outside* on. source: user_namespaces(7)."""

    inside: int
    outside: int
    count: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who we are behind the gate.

    kind   ``root``: root of the present user namespace, no new one; ``own``: a new user namespace with all ids of the
           present one (for a container's root without CAP_SYS_ADMIN, and where a fresh one is wanted); ``subid``: a
           new one with a sub-id range; ``single``: a new one with our own id alone, as root's, where all others are
           emulated (``supervision``); ``chroot``: no namespace at all, yet root, of a container's default profile:
           commands run in a copied tree (``jail``); ``bare``: nobody else, no namespace at all: no command can be run,
           yet what only copies can be built, with owners recorded
    key    names the map: what one identity wrote, another must not touch. A file name's characters only
    """

    kind: str
    key: str
    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()


def identity(userns: str = "auto", *, fresh: bool = False) -> Identity:
    """The best identity that this process can take, told from files and its own state alone.

    userns  ``auto``, ``none`` (no user namespace; a child tries then what root may do here), ``subid``, ``single``
    fresh   with ``auto``: a new user namespace even for root, who then has what belongs to one: a binfmt_misc
    raises  HostError naming what is missing and the smallest mend; UsageError for another word
    """
    if userns not in ("auto", "none", "subid", "single"):
        raise UsageError(f"unknown user namespace mode {userns}", code="unknown-userns")
    if userns == "single":
        return _single()
    if userns == "subid":
        return _subid()
    if os.geteuid() == 0:
        able = bool(_effective_capabilities() >> CAPABILITIES["CAP_SYS_ADMIN"] & 1)
        if able and not (fresh and userns == "auto"):
            return Identity(kind="root", key="root" + _nested())
        if userns == "auto":
            # All ids are themselves, so that who can be root without the namespace has one set of trees for both.
            name = "root" if able else "own"
            return Identity(
                kind="own", key=name + _nested(), uids=_own("/proc/self/uid_map"), gids=_own("/proc/self/gid_map")
            )
    if userns == "none":
        if (who := chrooted()) is not None:
            return who
        raise HostError(
            "only root with CAP_SYS_ADMIN or CAP_SYS_CHROOT can do without a user namespace",
            code="not-privileged",
            hint="leave --userns at auto",
        )
    try:
        who = _subid()
    except HostError:
        return _single()
    return who if _is_trusted("newuidmap") and _is_trusted("newgidmap") else _single()


def bare() -> Identity:
    """Who we are anyway."""
    return Identity(kind="bare", key=f"bare-u{os.geteuid()}-g{os.getegid()}{_nested()}")


def chrooted() -> Identity | None:
    """Root without namespaces, if a child of ours that tries may do what a command's process has to; else None."""
    if os.geteuid() != 0:
        return None
    child = os.fork()
    if child == 0:
        _try_chroot()
    _, status = os.waitpid(child, 0)
    return Identity(kind="chroot", key="chroot" + _nested()) if status == 0 else None


def _try_chroot() -> NoReturn:
    try:
        os.chroot("/")
        # On a file of no file system: what is asked is whether the capability and the ids are there.
        file = os.memfd_create("probe")
        os.fchown(file, 1, 1)
        os.setgroups([1])
        os.setresgid(1, 1, 1)
        os.setresuid(1, 1, 1)
        os._exit(0)
    finally:
        os._exit(1)


def _single() -> Identity:
    uid, gid = os.geteuid(), os.getegid()
    return Identity(
        kind="single",
        key=f"single-u{uid}-g{gid}",
        uids=(IdRange(inside=0, outside=uid, count=1),),
        gids=(IdRange(inside=0, outside=gid, count=1),),
    )


def _is_trusted(name: str) -> bool:
    """Whether the kernel will let the program have the rights that its file gives it; told without running it.

    no_new_privs makes the file's rights void, as a mount with nosuid does. A set-user-ID root that lacks CAP_SYS_ADMIN,
    as in most containers, may not map for a namespace which is not its own; with file capabilities it is ours still.
    source: execve(2); user_namespaces(7), "Defining user and group ID mappings"
    """
    path = find_program(name)
    if path is None or _status_field("NoNewPrivs") == "1" or os.statvfs(path).f_flag & os.ST_NOSUID:
        return False
    bounding = int(_status_field("CapBnd"), 16)
    return not os.stat(path).st_mode & stat.S_ISUID or bool(bounding >> CAPABILITIES["CAP_SYS_ADMIN"] & 1)


def _effective_capabilities() -> int:
    return int(_status_field("CapEff"), 16)


def _status_field(name: str) -> str:
    """A line of our own /proc/self/status. source: proc_pid_status(5)."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(name + ":"):
                return line.split(":", 1)[1].strip()
    return "0"


def _extents(path: str) -> list[tuple[int, int, int]]:
    with open(path) as table:
        return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in table)]


def _nested() -> str:
    """What tells the present map from the first one's, where it is not the first: trees of other maps are not ours."""
    extents = _extents("/proc/self/uid_map")
    if extents in ([(0, 0, 4294967295)], []):
        return ""
    return "-in-" + "-".join(f"{outside}.{count}" for _, outside, count in extents[:8])


def _own(path: str) -> tuple[IdRange, ...]:
    # A child's extent may not straddle two of its parent's, so each is repeated as it is. user_namespaces(7).
    return tuple(IdRange(inside=a, outside=a, count=c) for a, _, c in _extents(path))


def _subid() -> Identity:
    uid, gid = os.geteuid(), os.getegid()
    name = _user_name(uid)
    for program in ("newuidmap", "newgidmap"):
        if find_program(program) is None:
            raise HostError(
                f"{program} is not installed",
                code="no-newuidmap",
                hint="install it: the package is called uidmap (Debian, Ubuntu, Alpine: shadow-uidmap) or shadow-utils",
            )
    ranges = []
    for path in ("/etc/subuid", "/etc/subgid"):
        found = sub_ids(_read(path), name, uid)
        if not found:
            raise HostError(
                f"{path} gives {name or uid} no range of ids",
                code="no-subids",
                hint=_SETUP_HINT.format(name=name or uid),
            )
        ranges.append(found)
    uids, gids = _mapped(uid, ranges[0]), _mapped(gid, ranges[1])
    return Identity(kind="subid", key=_subid_key(uid, gid, ranges[0], ranges[1]), uids=uids, gids=gids)


def _subid_key(uid: int, gid: int, uids: list[tuple[int, int]], gids: list[tuple[int, int]]) -> str:
    """Short where it is as almost everywhere: one range of 65536, the same for groups."""
    if uids == gids and len(uids) == 1 and uids[0][1] == 65536 and uid == gid:
        return f"u{uid}-{uids[0][0]}"
    words = ["-".join(f"{start}.{count}" for start, count in ranges) for ranges in (uids, gids)]
    return f"u{uid}-{words[0]}-g{gid}-{words[1]}"


def _mapped(own: int, ranges: list[tuple[int, int]]) -> tuple[IdRange, ...]:
    mapped = [IdRange(inside=0, outside=own, count=1)]
    for start, count in ranges:
        mapped.append(IdRange(inside=mapped[-1].inside + mapped[-1].count, outside=start, count=count))
    return tuple(mapped)


def sub_ids(text: str, name: str | None, number: int) -> list[tuple[int, int]]:
    """The (start, count) ranges that an /etc/subuid gives a user, by name or by number. source: subuid(5).

    At most four lines are taken: newuidmap takes a range as three arguments, and older kernels five ranges in all.
    """
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(number)) and fields[1].isdigit() and fields[2].isdigit():
            start, count = int(fields[1]), int(fields[2])
            if count and start + count < 1 << 32:
                found.append((start, count))
    return found[:4]


def _user_name(uid: int) -> str | None:
    # Only rootless builds want it, and it may ask a directory server.
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}", code="no-subids") from None


def find_program(name: str) -> str | None:
    """The path of a program that belongs to the system, whatever PATH says of /usr/sbin."""
    for folder in (*os.environ.get("PATH", "").split(":"), "/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.access(path, os.X_OK):
            return path
    return None
