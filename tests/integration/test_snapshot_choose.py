"""Which snapshotter a place allows, by trying; as root and as an ordinary user."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.refusing import refuse
from worlds.sandboxes import CLOSED_FUSE, NO_FUSE, as_person

from builder.errors import HostError, UsageError
from builder.sandbox.gate import call, identity
from builder.snapshot import serving
from builder.snapshot.choose import choose, overlay_refusal
from builder.snapshot.copying import copy_tree
from native import constants, syscalls
from native.mounts import Mount, perform


@pytest.fixture(params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> Person:
    if request.param == "root":
        request.getfixturevalue("require_root")()
        return whoever_runs_this()
    return request.getfixturevalue("ordinary_user")


def inside(who: Person, function: Callable[[], object], *without: str) -> object:
    return as_person(
        who, lambda: call(lambda _send: function(), identity=identity(), on_message=print), without=without
    )


def test_overlay_is_taken_where_it_works(who: Person, store: Path) -> None:
    name = inside(who, lambda: choose(store, "k").name)
    assert name == "overlay"
    assert sorted(os.listdir(store / "snapshots")) == ["overlay-k"]
    assert sorted(os.listdir(store)) == ["snapshots"]


def test_copies_are_taken_where_overlay_does_not_work(who: Person, store: Path) -> None:
    def on_an_overlay() -> tuple[str, str | None]:
        for name in ("lower", "lower2", "upper", "work", "merged"):
            (store / name).mkdir(parents=True)
        merged = store / "merged"
        perform(
            Mount(kind="overlay", target=merged, lowers=(store / "lower",), upper=store / "upper", work=store / "work")
        )
        try:
            found = choose(merged, "k").name, overlay_refusal(merged)
            with pytest.raises(HostError) as error:
                choose(merged, "k", "overlay")
            assert error.value.code == "no-overlay"
            return found
        finally:
            syscalls.umount(merged, constants.MNT_DETACH)

    name, refusal = inside(who, on_an_overlay)  # type: ignore[misc]  # a pair
    assert name == "copy"
    assert refusal in (
        "it cannot be mounted: Invalid argument",
        "a whiteout cannot be made: Operation not permitted",
    )


def test_what_is_wanted_is_taken(who: Person, store: Path) -> None:
    assert inside(who, lambda: choose(store, "k", "copy").name) == "copy"


ERRORS = [errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENOSPC]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("calls", [("fsopen", "mount"), ("mknod", "mknodat")], ids=["mounts", "whiteouts"])
def test_whatever_refuses_what_an_overlay_needs_there_are_copies(
    who: Person, store: Path, calls: tuple[str, ...], number: int
) -> None:
    def refused() -> tuple[str, str | None, str, str | None]:
        refuse(calls, number)
        taken = choose(store, "k").name
        with pytest.raises(HostError) as error:
            choose(store, "k", "overlay")
        return taken, overlay_refusal(store), error.value.message, error.value.hint

    taken, refusal, message, hint = inside(who, refused)  # type: ignore[misc]  # what it returns
    assert taken == "copy"
    what = "it cannot be mounted" if "mount" in calls else "a whiteout cannot be made"
    assert refusal == f"{what}: {os.strerror(number)}"
    assert message == f"overlayfs does not work in {store}: {refusal}"
    assert hint == "put the store on ext4, xfs, btrfs or tmpfs, or use --isolation fuse-overlayfs or copy"
    assert sorted(os.listdir(store)) == ["snapshots"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.__getitem__)
def test_overlays_are_mounted_the_old_way_where_the_new_calls_are_refused(
    who: Person, store: Path, number: int
) -> None:
    def refused() -> str:
        refuse(("fsopen",), number)
        return choose(store, "k", "overlay").name

    assert inside(who, refused) == "overlay"


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.ENOSYS, errno.EINVAL, errno.EXDEV], ids=errno.errorcode.__getitem__
)
def test_copies_are_read_and_written_where_the_kernel_may_not_copy(who: Person, store: Path, number: int) -> None:
    def refused() -> bytes:
        refuse(("ioctl", "copy_file_range"), number)
        store.mkdir(parents=True)
        (store / "from").mkdir()
        (store / "from/file").write_bytes(b"data" * 100_000)
        copy_tree(store / "from", store / "to")
        return (store / "to/file").read_bytes()

    assert inside(who, refused) == b"data" * 100_000


def test_a_program_that_cannot_mount_is_told_with_its_own_words(
    who: Person, store: Path, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def refused() -> object:
        refuse(("fsopen", "mount"), errno.EPERM)
        return choose(store, "k", "fuse-overlayfs")

    with pytest.raises(HostError) as error:
        inside(who, refused, CLOSED_FUSE)
    assert error.value.code == "fuse-overlayfs-failed"
    assert error.value.message.startswith("fuse-overlayfs does not start: ")
    assert error.value.hint == "use --isolation copy or auto"


def test_the_program_is_taken_if_it_is_wanted_and_not_otherwise(
    who: Person, store: Path, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()
    found = inside(who, lambda: choose(store, "k", "fuse-overlayfs").name, CLOSED_FUSE)
    assert found == "fuse-overlayfs"
    assert sorted(os.listdir(store)) == ["snapshots"]
    assert sorted(os.listdir(store / "snapshots")) == ["fuse-overlayfs-k"]


def test_without_its_device_the_program_is_refused(who: Person, store: Path, require_root: Callable[[], None]) -> None:
    require_root()
    with pytest.raises(HostError) as absent:
        inside(who, lambda: choose(store, "k", "fuse-overlayfs"), NO_FUSE)
    assert absent.value.message == "fuse-overlayfs needs /dev/fuse, which cannot be opened: No such file or directory"
    assert absent.value.hint == (
        "give the container the device (docker run --device /dev/fuse), or the user the right to open it"
        " (chmod 666 /dev/fuse), or use --isolation copy or auto"
    )


def test_without_the_program_it_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PROGRAM", "no-such-program")
    with pytest.raises(HostError) as error:
        choose(store, "k", "fuse-overlayfs")
    assert error.value.message == "no-such-program is not installed"
    assert error.value.hint == "install the package fuse-overlayfs, or use --isolation copy or auto"


def test_what_there_is_not_is_said(store: Path) -> None:
    with pytest.raises(UsageError) as unknown:
        choose(store, "k", "zfs")
    assert unknown.value.message == "unknown snapshotter zfs"
