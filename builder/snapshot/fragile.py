"""What fuse-overlayfs would change in copying it up, put into the upper folder beforehand, and taken out untouched.

In copying up, the program takes the names of one file for each other, a folder loses the set-group-ID bit, a file the
set-user-ID and set-group-ID bits (if it is not root's, or in a user namespace, where writing takes them away), a link
its owner, and a fifo becomes a file or is gone. What lies in the upper folder already is not copied up. Each name of a
file becomes a file of its own there, as when overlayfs copies one up: whatever was not touched is removed when the
draft is finished, and is again what the layers below have.

Which paths of a layer these are is found once and kept beside it, as ``<id>/fragile``; a crash leaves at most a file
``fragile-*`` there, which goes with the layer.

source   fuse-overlayfs main.c, copyup and create_node_directory (the same in 1.10 and 1.14, and tried);
         Documentation/filesystems/overlayfs.rst, "Non-standard behavior"
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from builder.layer.index import State, state
from builder.layer.marks import FILES
from builder.layer.scan import walk
from builder.layer.xattrs import is_capability, read, write
from builder.snapshot.lowers import Lowers
from native import syscalls

Placed = dict[bytes, State]
"""What was put into an upper folder, by path: a folder before what is in it."""

_LIST = "fragile"
_BITS = stat.S_ISUID | stat.S_ISGID
_OWN = ("user.fuseoverlayfs.", "user.overlay.opaque")


def place(upper: Path, layers: Sequence[Path]) -> Placed:
    """Put what is fragile in *layers* (their folders ``<id>/fs``, topmost first) into *upper*, which is empty."""
    below = Lowers(layers, FILES)
    wanted = {
        path: os.fsencode(layer) + b"/" + path
        for layer in layers
        for path in _listed(layer)
        if below.find(path) == os.fsencode(layer) + b"/" + path
    }
    if not wanted:
        return {}
    root = os.fsencode(upper)
    folders = {b"": os.lstat(root)}
    for path, source in sorted(wanted.items()):
        for above in _above(path):
            found = below.find(above)
            if above not in folders and found is not None:
                folders[above] = os.lstat(found)
                _copy(found, root + b"/" + above, folders[above])
        status = os.lstat(source)
        _copy(source, root + b"/" + path, status)
        if stat.S_ISDIR(status.st_mode):
            folders[path] = status
    for path, status in folders.items():  # what was put into them changed it
        _set_time(root + b"/" + path, status)
    return {path: state(os.lstat(root + b"/" + path)) for path in sorted({*wanted, *folders} - {b""})}


def take_back(upper: Path, placed: Placed) -> None:
    """Remove from *upper* what was *placed* there and is as it was; folders keep their times."""
    root = os.fsencode(upper)
    times: dict[bytes, os.stat_result] = {b"": os.lstat(root)}
    same: dict[bytes, bool] = {}
    for path, before in placed.items():
        status = _status(root + b"/" + path)
        if status is None:  # removed or renamed, or what it was in
            continue
        if stat.S_ISDIR(status.st_mode):
            times[path] = status
        if status.st_ino == before[0]:
            same[path] = state(status) == before
    for path in sorted((path for path, untouched in same.items() if untouched), reverse=True):
        if path not in times:
            os.unlink(root + b"/" + path)
        elif not os.listdir(root + b"/" + path):
            os.rmdir(root + b"/" + path)
            del times[path]
    for path, status in times.items():
        _set_time(root + b"/" + path, status)


def _listed(layer: Path) -> list[bytes]:
    """The fragile paths of one layer, sorted."""
    kept = layer.parent / _LIST
    try:
        data = kept.read_bytes()
    except FileNotFoundError:
        data = b"\0".join(path for path, status in walk(layer) if path and _is_fragile(status))
        spare = layer.parent / f"{_LIST}-{os.urandom(4).hex()}"
        spare.write_bytes(data)
        os.rename(spare, kept)
    return data.split(b"\0") if data else []


def _is_fragile(status: os.stat_result) -> bool:
    mode = status.st_mode
    roots = (status.st_uid, status.st_gid) == (0, 0)
    if stat.S_ISDIR(mode):
        return bool(mode & stat.S_ISGID)
    if stat.S_ISREG(mode):
        return status.st_nlink > 1 or bool(mode & _BITS)
    return not (stat.S_ISLNK(mode) and roots) and not stat.S_ISSOCK(mode)


def _above(path: bytes) -> list[bytes]:
    """The folders above *path*, highest first, without the root."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def _status(place: bytes) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _copy(source: bytes, target: bytes, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(target, 0o700)
    elif stat.S_ISREG(mode):
        _data(source, target)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, mode, status.st_rdev)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(target, stat.S_IMODE(mode))
        for name, value in read(source, _is_carried).items():
            write(target, name, value)
    _set_time(target, status)


def _data(source: bytes, target: bytes) -> None:
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        try:
            syscalls.ficlone(new.fileno(), old.fileno())
        except OSError:  # most file systems cannot; if it is the disk that is full, what follows says so
            shutil.copyfileobj(old, new, 1 << 20)


def _is_carried(name: str) -> bool:
    return not name.startswith(_OWN) and (name.startswith(("user.", "system.posix_acl_")) or is_capability(name))


def _set_time(target: bytes, status: os.stat_result) -> None:
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
