"""Which snapshotter this place allows, found by doing what a build does.

The kernel's overlay costs nothing, and is taken where it works; next is fuse-overlayfs, if what it does otherwise
(``faithful``) is nothing that a layer must hold, for the image is to be the same on each; else copies, which are right
everywhere and cost as much as the root is large. Where fuse-overlayfs is asked for it is taken as it is.
"""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from builder.errors import HostError, UsageError
from builder.layer.folders import OPAQUE_XATTR
from builder.snapshot.clone import Clone
from builder.snapshot.contract import Snapshotter
from builder.snapshot.overlay import Overlay
from native import mounts, syscalls
from native.constants import MNT_DETACH
from native.mounts import Mount

_NAMES = ("overlay", "fuse-overlayfs", "copy")
_MOUNTS_REFUSED = (
    "no file system can be mounted here: let the container mount (its seccomp or AppArmor profile forbids it),"
    " or use --isolation copy or auto"
)
_OTHERS = "or use --isolation fuse-overlayfs or copy"
_ANOTHER_STORE = f"put the store on ext4, xfs, btrfs or tmpfs, {_OTHERS}"
_REFUSED_EVERYWHERE = {
    "whiteout": f"no file system here takes a device 0:0: allow mknod(2) (a seccomp profile may forbid it), {_OTHERS}",
    "mount": f"no file system here takes an overlay: load the module overlay, have Linux 5.11 or later, {_OTHERS}",
}


@dataclass(frozen=True, slots=True)
class _Failure:
    """How far an overlay came: ``whiteout``, ``mount`` or ``folder``, in this order, and what is said of it."""

    stage: str
    why: str


_STAGES = ("whiteout", "mount", "folder")


def choose(store_root: Path, key_suffix: str, wanted: str = "auto") -> Snapshotter:
    """The snapshotter to use, its folders keyed by its name and *key_suffix* (the identity's key).

    Called behind the gate. *wanted* is ``auto``, ``overlay``, ``fuse-overlayfs`` or ``copy``.

    raises   HostError if what is wanted does not work here, UsageError for another word
    """
    if wanted not in ("auto", *_NAMES):
        raise UsageError(f"unknown snapshotter {wanted}", code="unknown-snapshotter")
    for name in _NAMES if wanted == "auto" else (wanted,):
        refusal = _refusal(store_root, name, auto=wanted == "auto")
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


def _refusal(store_root: Path, name: str, *, auto: bool) -> HostError | None:
    if name == "copy":
        return None
    if name == "overlay":
        return overlay_refusal(store_root)
    try:
        lost = fuse_lost(store_root)
    except HostError as error:
        return error
    return HostError(unfaithful(lost), code="fuse-overlayfs-unfaithful") if lost and auto else None


def overlay_refusal(store_root: Path) -> HostError | None:
    """Why overlayfs is not to be used in *store_root*; None if it works.

    raises   OSError if the store is full, or cannot be written to: then nothing is known of overlays
    """
    store_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=store_root) as name:
        failure = _overlay_failure(Path(name))
        if failure is None:
            return None
        return HostError(
            f"overlayfs does not work in {store_root}: {failure.why}",
            code="no-overlay",
            hint=_overlay_hint(failure, Path(name)),
        )


def _overlay_failure(base: Path) -> _Failure | None:
    """What a build does with an overlay, done in the folder *base*.

    A mount that succeeds is no proof: without ``userxattr`` in a user namespace, or on file systems without user
    attributes, the first ``rmdir`` and ``mkdir`` of a folder of a lower layer answers EIO.
    """
    for folder in ("lower/d", "middle", "upper", "work", "root"):
        (base / folder).mkdir(parents=True)
    (base / "lower/d/file").touch()
    try:
        os.mknod(base / "middle/gone", 0o020600, 0)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _Failure("whiteout", f"a whiteout cannot be made: {e.strerror}")
    root, lowers = base / "root", (base / "middle", base / "lower")
    try:
        mounts.perform(Mount(kind="overlay", target=root, lowers=lowers, upper=base / "upper", work=base / "work"))
    except OSError as e:
        return _Failure("mount", f"it cannot be mounted: {os.strerror(e.errno or 0)}")
    try:
        (root / "d/file").unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
        if os.listdir(root / "d") or os.getxattr(base / "upper/d", OPAQUE_XATTR, follow_symlinks=False) != b"y":
            return _Failure("folder", "a folder that was made anew shows what was deleted")
    except OSError as e:
        return _Failure("folder", f"a folder cannot be made anew: {os.strerror(e.errno or 0)}")
    finally:
        syscalls.umount(root, MNT_DETACH)
        _empty(base / "work")
    return None


def _overlay_hint(failure: _Failure, base: Path) -> str:
    """What would help: the same is tried on a tmpfs, which can hold all that an overlay needs."""
    place = base / "tmpfs"
    place.mkdir()
    try:
        syscalls.mount("tmpfs", place, "tmpfs", 0)
    except OSError:
        return _MOUNTS_REFUSED
    try:
        there = _overlay_failure(place)
    finally:
        syscalls.umount(place, MNT_DETACH)
    # Linux before 6.6 has a tmpfs without user attributes: there it fails too, and later.
    if there is None or _STAGES.index(there.stage) > _STAGES.index(failure.stage):
        return _ANOTHER_STORE
    return _REFUSED_EVERYWHERE.get(failure.stage, _ANOTHER_STORE)


def fuse_lost(store_root: Path) -> tuple[str, ...]:
    """What fuse-overlayfs loses in *store_root* of what a layer must hold, a clause for each; empty: nothing.

    raises   HostError if it does not work there
    """
    from builder.snapshot.serving import PROGRAM, missing  # few places come so far

    refusal = missing()
    if refusal is not None:
        raise refusal
    from builder.snapshot.faithful import lost

    store_root.mkdir(parents=True, exist_ok=True)
    try:
        return lost(store_root)
    except HostError as error:
        if error.code == "fuse-overlayfs-failed" and _mounts_refused(store_root):
            error.hint = _MOUNTS_REFUSED
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise HostError(
            f"{PROGRAM} does not work in {store_root}: {error.strerror}",
            code="no-fuse-overlayfs",
            hint="use --isolation copy or auto",
        ) from error


def unfaithful(lost: tuple[str, ...]) -> str:
    """Why the program is not taken by itself, one line."""
    return "layers may be others than elsewhere: " + "; ".join(lost)


def _mounts_refused(store_root: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="probe-", dir=store_root) as place:
        try:
            syscalls.mount("tmpfs", place, "tmpfs", 0)
        except OSError:
            return True
        syscalls.umount(place, MNT_DETACH)
        return False


def _empty(work: Path) -> None:
    # overlayfs leaves work/work behind, with mode 0, which only root of this namespace can remove
    for folder in work.iterdir():
        folder.chmod(0o700)
