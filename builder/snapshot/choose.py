"""Which snapshotter this place allows, found by doing what a build does.

The kernel's overlay costs nothing, and is taken where it works; else copies, which are right everywhere and cost as
much as the root is large. fuse-overlayfs is taken only if it is asked for. It makes a draft at once, and so is faster
where the root is large and a step small; but it takes the names of one file for each other: what a command writes to
one hard link of a lower layer it may put into the layer under another. The image would be another one than elsewhere.

source   measured, fuse-overlayfs 1.10 (contract suite, ``LINKED``): an inode's first name is copied up, whichever is
         written to
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from builder.errors import HostError, UsageError
from builder.layer.changes import OPAQUE
from builder.layer.folders import OPAQUE_XATTR
from builder.snapshot.clone import Clone
from builder.snapshot.contract import Snapshotter
from builder.snapshot.overlay import Overlay
from native import mounts, syscalls
from native.constants import MNT_DETACH
from native.mounts import Mount

_NAMES = ("overlay", "fuse-overlayfs", "copy")
_AUTO = ("overlay", "copy")


def choose(store_root: Path, key_suffix: str, wanted: str = "auto") -> Snapshotter:
    """The snapshotter to use, its folders keyed by its name and *key_suffix* (the identity's key).

    Called behind the gate. *wanted* is ``auto``, ``overlay``, ``fuse-overlayfs`` or ``copy``.

    raises   HostError if what is wanted does not work here, UsageError for another word
    """
    if wanted not in ("auto", *_NAMES):
        raise UsageError(f"unknown snapshotter {wanted}", code="unknown-snapshotter")
    for name in _AUTO if wanted == "auto" else (wanted,):
        refusal = _refusal(store_root, name)
        if refusal is None:
            return of_shelf(store_root, f"{name}-{key_suffix}")
        if wanted == name:
            raise refusal
    raise AssertionError("copies work everywhere")


def of_shelf(store_root: Path, shelf: str) -> Snapshotter:
    """The snapshotter whose folder is *shelf*."""
    if shelf.startswith("copy-"):
        return Clone(store_root, shelf)
    if shelf.startswith("fuse-overlayfs-"):
        from builder.snapshot.fuse import FuseOverlay  # few places need it

        return FuseOverlay(store_root, shelf)
    return Overlay(store_root, shelf)


def _refusal(store_root: Path, name: str) -> HostError | None:
    if name == "copy":
        return None
    if name == "fuse-overlayfs":
        return fuse_refusal(store_root)
    refusal = overlay_refusal(store_root)
    if refusal is None:
        return None
    return HostError(
        f"overlayfs does not work in {store_root}: {refusal}",
        code="no-overlay",
        hint="put the store on ext4, xfs, btrfs or tmpfs, or use --isolation fuse-overlayfs or copy",
    )


def overlay_refusal(store_root: Path) -> str | None:
    """Why overlayfs is not to be used in *store_root*; None if it works.

    A mount that succeeds is no proof: without ``userxattr`` in a user namespace, or on file systems without user
    attributes, the first ``rmdir`` and ``mkdir`` of a folder of a lower layer answers EIO.
    """
    store_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=store_root) as name:
        base = Path(name)
        for folder in ("lower/d", "middle", "upper", "work", "root"):
            (base / folder).mkdir(parents=True)
        (base / "lower/d/file").touch()
        try:
            os.mknod(base / "middle/gone", 0o020600, 0)
        except OSError as e:
            return f"a whiteout cannot be made: {e.strerror}"
        root = base / "root"
        try:
            mounts.perform(
                Mount(
                    kind="overlay",
                    target=root,
                    lowers=(base / "middle", base / "lower"),
                    upper=base / "upper",
                    work=base / "work",
                )
            )
        except OSError as e:
            return f"it cannot be mounted: {os.strerror(e.errno or 0)}"
        try:
            (root / "d/file").unlink()
            (root / "d").rmdir()
            (root / "d").mkdir()
            if os.listdir(root / "d") or os.getxattr(base / "upper/d", OPAQUE_XATTR) != b"y":
                return "a folder that was made anew shows what was deleted"
        except OSError as e:
            return f"a folder cannot be made anew: {os.strerror(e.errno or 0)}"
        finally:
            syscalls.umount(root, MNT_DETACH)
            _empty(base / "work")
    return None


def fuse_refusal(store_root: Path) -> HostError | None:
    """Why fuse-overlayfs is not to be used in *store_root*; None if it works: a folder is deleted and made anew."""
    from builder.snapshot.serving import PROGRAM, missing, serve

    refusal = missing()
    if refusal is not None:
        return refusal
    store_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=store_root) as name:
        base = Path(name)
        for folder in ("lower/d", "upper", "work", "root"):
            (base / folder).mkdir(parents=True)
        (base / "lower/d/file").touch()
        root = base / "root"
        try:
            serving = serve(base, (base / "lower",), root, upper=base / "upper", work=base / "work")
            try:
                (root / "d/file").unlink()
                (root / "d").rmdir()
                (root / "d").mkdir()
                shown = os.listdir(root / "d")
            finally:
                serving.end()
        except HostError as error:
            return error
        except OSError as error:
            return HostError(f"{PROGRAM} does not work in {store_root}: {error.strerror}", code="no-fuse-overlayfs")
        if shown or not (base / "upper/d" / os.fsdecode(OPAQUE)).exists():
            return HostError(
                f"{PROGRAM} does not work in {store_root}: a folder that was made anew shows what was deleted",
                code="no-fuse-overlayfs",
            )
        _empty(base / "work")
    return None


def _empty(work: Path) -> None:
    # overlayfs leaves work/work behind, with mode 0, which only root of this namespace can remove
    for folder in work.iterdir():
        folder.chmod(0o700)
