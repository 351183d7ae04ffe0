"""What a layer hides of those below it, told by files in its folder (``marks.FILES``), once those below are known."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from builder.layer.changes import OPAQUE, WHITEOUT
from builder.layer.settle import Below, Inside, resolve

_NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def hide(
    root: Path, below: Below, whiteouts: Iterable[bytes], opaques: Iterable[bytes], *, empties_root: bool = False
) -> None:
    """Mark in the layer's folder *root* what it hides of *below*.

    whiteouts, opaques   paths, as for ``apply.Applied``. What the layer itself has in the place of a deletion hides
                         what is below; if it is a folder, only by being opaque. What hides nothing gets no mark.
    """
    everything = sorted(below.names(b"")) if empties_root else []
    with Inside(root) as inside:
        for path in (*whiteouts, *everything):
            folder, _, name = path.rpartition(b"/")
            _whiteout(inside, below, _real(root, below, folder), name)
        for path in opaques:
            _opaque(inside, below, _real(root, below, path))


def _real(root: Path, below: Below, folder: bytes) -> bytes:
    """Where what the layer named *folder* is by now: moved behind a link of the layers below, if there was one."""
    if not folder or os.path.isdir(os.fsencode(root) + b"/" + folder):
        return folder
    return resolve(below, folder)


def _whiteout(inside: Inside, below: Below, folder: bytes, name: bytes) -> None:
    path = folder + b"/" + name if folder else name
    if below.find(path) is None:
        return
    with inside.folder(folder) as parent:
        if parent is None:
            return
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            _mark(parent, WHITEOUT + name)
            return
    if stat.S_ISDIR(status.st_mode):
        _opaque(inside, below, path)


def _opaque(inside: Inside, below: Below, path: bytes) -> None:
    found = below.find(path)
    if found is None or not stat.S_ISDIR(os.lstat(found).st_mode):
        return
    with inside.folder(path) as folder:
        if folder is not None:
            _mark(folder, OPAQUE)


def _mark(folder: int, name: bytes) -> None:
    """Make an empty file; the folder keeps its time."""
    before = os.fstat(folder)
    os.close(os.open(name, _NEW, 0o600, dir_fd=folder))
    os.utime(folder, ns=(before.st_mtime_ns, before.st_mtime_ns))
