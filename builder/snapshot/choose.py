"""Which snapshotter this place allows, found by doing what a build does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from builder.errors import HostError, UsageError
from builder.layer.folders import OPAQUE_XATTR
from builder.snapshot.clone import Clone
from builder.snapshot.contract import Snapshotter
from builder.snapshot.overlay import Overlay
from native import mounts, syscalls
from native.constants import MNT_DETACH
from native.mounts import Mount


def choose(store_root: Path, key_suffix: str, wanted: str = "auto") -> Snapshotter:
    """The snapshotter to use, its folders keyed by its name and *key_suffix* (the identity's key).

    Called behind the gate. *wanted* is ``auto``, ``overlay``, ``fuse-overlayfs`` or ``copy``.

    raises   HostError if what is wanted does not work here, UsageError for another word
    """
    if wanted == "fuse-overlayfs":
        raise HostError(
            "the snapshotter fuse-overlayfs is not supported by this version",
            code="snapshotter-unsupported",
            hint="use --isolation overlay, copy or auto",
        )
    if wanted not in ("auto", "overlay", "copy"):
        raise UsageError(f"unknown snapshotter {wanted}", code="unknown-snapshotter")
    if wanted != "copy":
        refusal = overlay_refusal(store_root)
        if refusal is None:
            return Overlay(store_root, f"overlay-{key_suffix}")
        if wanted == "overlay":
            raise HostError(
                f"overlayfs does not work in {store_root}: {refusal}",
                code="no-overlay",
                hint="put the store on ext4, xfs, btrfs or tmpfs, or use --isolation copy",
            )
    return Clone(store_root, f"copy-{key_suffix}")


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


def _empty(work: Path) -> None:
    # overlayfs leaves work/work behind, with mode 0, which only root of this namespace can remove
    for folder in work.iterdir():
        folder.chmod(0o700)
