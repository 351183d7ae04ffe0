"""Whether fuse-overlayfs, as it is here and as we use it, keeps all that a layer must hold: found by doing it.

No version that is known does; what each loses differs. Of 1.10 and 1.14 remains, after what ``fragile`` and ``mending``
do: a file of a lower layer that was replaced by a rename and then removed is there again (so dpkg purges packages), new
folders and links do not take over the group of a folder with the set-group-ID bit, and a name has 251 bytes at most,
for a deletion is written ``.wh.NAME``. 1.14 makes fifos and devices without regard to the umask.

No option helps the first: without any caching (``timeout=0``) a build takes several times as long, and it is right only
where folders are named by their paths.

source   tried; fuse-overlayfs main.c, hide_node (a renamed node's last_layer is the upper one), ovl_mkdir,
         direct_symlinkat, get_fs_namemax, ovl_mknod
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from builder.snapshot.fuse import FuseOverlay

_OTHER = 1
"""An id that is not root's, where one can be given."""
_OLD = 1_000_000_000
_LONGEST = 255
"""Bytes. source: limits.h, NAME_MAX"""


def lost(store_root: Path) -> tuple[str, ...]:
    """What is not kept in *store_root*, a clause for each; empty if all is.

    raises   HostError if the program does not start or ends early, OSError if the store cannot be written to
    """
    with tempfile.TemporaryDirectory(prefix="probe-", dir=store_root) as name:
        snapshotter = FuseOverlay(Path(name), "probe")
        base = snapshotter.prepare(None)
        _lay(base.tree)
        below = snapshotter.commit(base)
        draft = snapshotter.prepare(below)
        try:
            with snapshotter.view(draft) as root:
                found = [what for what, keeps in _TRIALS.items() if not _tried(keeps, root)]
        except BaseException:
            snapshotter.discard(draft)
            raise
        made = snapshotter.commit(draft)
        if os.stat(snapshotter.tree(made) / "old").st_mtime != _OLD:
            found.append("a folder gets the time at which a file in it was changed")
        snapshotter.remove_all([made.id, below.id])  # and with them their locks
        return tuple(found)


def _lay(root: Path) -> None:
    """The layer below."""
    for folder in ("anew", "names", "group", "old", "replaced"):
        (root / folder).mkdir()
    for file in ("anew/file", "names/one", "set", "old/file", "gone", "replaced/file"):
        (root / file).write_text("below")
    os.link(root / "names/one", root / "names/two")
    os.symlink("nowhere", root / "link")
    os.mkfifo(root / "fifo")
    for path in ("group", "set", "link", "fifo"):
        with suppress(OSError):  # one id only is mapped
            os.chown(root / path, _OTHER, _OTHER, follow_symlinks=False)
    (root / "group").chmod(0o2775)
    (root / "set").chmod(0o6755)
    with suppress(OSError):  # a file system without attributes, where no file has any to lose
        os.setxattr(root / "set", "user.probe", b"yes")
    for path in ("link", "old/file", "old"):
        os.utime(root / path, (_OLD, _OLD), follow_symlinks=False)


def _tried(keeps: Callable[[Path], bool], root: Path) -> bool:
    try:
        return keeps(root)
    except OSError:
        return False


def _folder_anew(root: Path) -> bool:
    (root / "anew/file").unlink()
    (root / "anew").rmdir()
    (root / "anew").mkdir()
    return not os.listdir(root / "anew")


def _removal(root: Path) -> bool:
    (root / "gone").unlink()
    return "gone" not in os.listdir(root)


def _replaced(root: Path) -> bool:
    # Through a descriptor: to look the folder up by its name makes the program look again at what is below.
    folder = os.open(root / "replaced", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder))
        os.rename("new", "file", src_dir_fd=folder, dst_dir_fd=folder)
        os.unlink("file", dir_fd=folder)
    finally:
        os.close(folder)
    return os.listdir(root / "replaced") == []


def _names(root: Path) -> bool:
    (root / "names/two").write_text("other")
    return (root / "names/one").read_text() == "below"


def _file(root: Path) -> bool:
    before, attributes = os.stat(root / "set"), os.listxattr(root / "set")
    os.rename(root / "set", root / "set2")
    after = os.stat(root / "set2")
    return _what(before) == _what(after) and os.listxattr(root / "set2") == attributes


def _link(root: Path) -> bool:
    before = os.lstat(root / "link")
    os.rename(root / "link", root / "link2")
    return _what(before) == _what(os.lstat(root / "link2"))


def _fifo(root: Path) -> bool:
    before = os.lstat(root / "fifo")
    os.rename(root / "fifo", root / "fifo2")
    return _what(before) == _what(os.lstat(root / "fifo2"))


def _what(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _group(root: Path) -> bool:
    wanted = os.stat(root / "group").st_gid
    (root / "group/file").touch()
    (root / "group/folder").mkdir()
    os.symlink("nowhere", root / "group/link")
    gids = {os.lstat(root / "group" / name).st_gid for name in ("file", "folder", "link")}
    return gids == {wanted} and all(os.stat(root / name).st_mode & stat.S_ISGID for name in ("group", "group/folder"))


def _long_name(root: Path) -> bool:
    (root / ("n" * _LONGEST)).touch()
    return True


def _umask(root: Path) -> bool:
    os.mkdir(root / "made", 0o777)
    os.mkfifo(root / "made/fifo", 0o777)
    return stat.S_IMODE(os.stat(root / "made").st_mode) == stat.S_IMODE(os.stat(root / "made/fifo").st_mode)


def _time(root: Path) -> bool:
    (root / "old/file").chmod(0o600)  # what follows is seen when the draft is finished
    return True


_TRIALS: dict[str, Callable[[Path], bool]] = {
    "a folder made anew shows what was deleted": _folder_anew,
    "a removed file is still shown": _removal,
    "a file that was replaced and then removed is there again": _replaced,
    "what is written to one name of a file changes the others": _names,
    "a changed file loses its mode, owner or attributes": _file,
    "a renamed link loses its owner": _link,
    "a fifo cannot be renamed": _fifo,
    "new files do not take over the group of a folder with the set-group-ID bit": _group,
    f"names of {_LONGEST} bytes cannot be made": _long_name,
    "fifos and devices are made without regard to the umask": _umask,
    "modes cannot be changed": _time,
}
