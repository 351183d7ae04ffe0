"""Mount points: found inside a root whatever its links say, made where they are missing, and removed after the command.

A path is walked folder by folder, each opened without following a link; links are followed by us, and ".." never leads
above the root. So no link of an image, not even one into /proc, leads out of it, and what another command does in a
shared cache folder meanwhile changes nothing.

source   BuildKit executor/stubs.go: what is still empty is removed, and the parent's times stay
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = ".wh..wh..opq"
_LINKS = 40
"""Symbolic links followed in one path at the most, as the kernel has it. path_resolution(7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A file or folder that was made to mount on.

    path     real path inside the root, from "/"
    parent   its folder's (atime, mtime) before, and its mtime after it was made, in nanoseconds
    """

    path: str
    folder: bool
    before: tuple[int, int]
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What was moved out of the way of something, and has come back untouched: paths below the root, links resolved."""

    paths: tuple[bytes, ...]


class Points:
    """Mount points under one root. ``stubs`` are those made so far, on the root's own mount; ``made`` counts all."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.stubs: list[Stub] = []
        self.made = 0
        self._mount = _mount_id(root)

    def find(self, path: str, *, folder: bool, kept: bool = False) -> int:
        """A descriptor (O_PATH) of *path* inside the root, made if missing; the caller closes it.

        kept     what is made is no stub: it stays
        raises   OSError
        """
        rest = _words(path)
        held = [(os.dup(self.root), "")]
        links = 0
        try:
            while rest:
                word = rest.pop(0)
                if word == "..":
                    if len(held) > 1:
                        os.close(held.pop()[0])
                    continue
                here = held[-1][0]
                target = _link(word, here)
                if target is not None:
                    links += 1
                    if links > _LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    if target.startswith("/"):
                        while len(held) > 1:
                            os.close(held.pop()[0])
                    rest[:0] = _words(target)
                    continue
                inside = "/".join(name for _, name in held)
                held.append((self._step(here, inside, word, folder=folder or bool(rest), kept=kept), word))
            return os.dup(held[-1][0])
        finally:
            for fd, _ in held:
                os.close(fd)

    def _step(self, here: int, inside: str, name: str, *, folder: bool, kept: bool) -> int:
        flags = _FOLDER if folder else _FOLDER & ~os.O_DIRECTORY
        try:
            return os.open(name, flags, dir_fd=here)
        except FileNotFoundError:
            pass
        before = os.fstat(here)
        self.made += 1
        if folder:
            os.mkdir(name, 0o755, dir_fd=here)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o755, dir_fd=here))
        if not kept and _mount_id(here) == self._mount:
            stub = Stub(
                path=f"{inside}/{name}",
                folder=folder,
                before=(before.st_atime_ns, before.st_mtime_ns),
                after=os.fstat(here).st_mtime_ns,
            )
            self.stubs.append(stub)
        return os.open(name, flags, dir_fd=here)


def clean_stubs(tree: Path, stubs: Iterable[Stub]) -> None:
    """Remove those *stubs* that are still empty from the draft's *tree*, and give their folders their times back.

    tree  an overlay's upper folder, or a whole copy; what is no longer there, or is no longer what was made, is left
    """
    root = os.open(tree, _FOLDER)
    try:
        for stub in reversed(list(stubs)):
            with suppress(FileNotFoundError, NotADirectoryError):
                _clean(root, stub)
    finally:
        os.close(root)


def _clean(root: int, stub: Stub) -> None:
    *parents, name = _words(stub.path)
    here = os.dup(root)
    try:
        for parent in parents:
            below = os.open(parent, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        parent_state, state = os.fstat(here), os.stat(name, dir_fd=here, follow_symlinks=False)
        if stub.folder and stat.S_ISDIR(state.st_mode):
            try:
                _unmark(f"/proc/self/fd/{here}/{name}")
                os.rmdir(name, dir_fd=here)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return
                raise
        elif not stub.folder and stat.S_ISREG(state.st_mode) and state.st_size == 0:
            os.unlink(name, dir_fd=here)
        else:
            return
        # A folder that nobody else changed gets the times from before the stub: it is as the layer below has it.
        times = (parent_state.st_atime_ns, parent_state.st_mtime_ns)
        os.utime(f"/proc/self/fd/{here}", ns=stub.before if times[1] == stub.after else times)
    finally:
        os.close(here)


def _unmark(folder: str) -> None:
    """fuse-overlayfs puts its mark into every folder that it makes: one that holds nothing else is empty."""
    if os.listdir(folder) == [_OPAQUE]:
        os.unlink(f"{folder}/{_OPAQUE}")


def _words(path: str) -> list[str]:
    return [word for word in path.split("/") if word not in ("", ".")]


def _link(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _mount_id(fd: int) -> str:
    """The id of the mount that *fd* is on. source: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return next(line for line in info if line.startswith("mnt_id"))
