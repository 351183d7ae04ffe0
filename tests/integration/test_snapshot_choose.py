"""Which snapshotter a place allows, by trying; as root and as an ordinary user."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.refusing import refuse
from worlds.sandboxes import CLOSED_FUSE, LOCKED_FUSE, NO_FUSE, as_person

from builder.errors import HostError, UsageError
from builder.sandbox.gate import call, identity
from builder.snapshot import faithful, serving
from builder.snapshot.choose import choose, fuse_lost
from builder.snapshot.copying import copy_tree
from builder.snapshot.overlay import Overlay
from native import constants, mounts, syscalls
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


ANOTHER_STORE = "put the store on ext4, xfs, btrfs or tmpfs, or use --isolation fuse-overlayfs or copy"
NO_MOUNTS = (
    "no file system can be mounted here: let the container mount (its seccomp or AppArmor profile forbids it),"
    " or use --isolation copy or auto"
)


@contextmanager
def overlay_on(store: Path) -> Iterator[Path]:
    """A place below *store* where the kernel makes no overlay, for it is on one."""
    for name in ("lower", "upper", "work", "merged"):
        (store / name).mkdir(parents=True)
    merged = store / "merged"
    perform(Mount(kind="overlay", target=merged, lowers=(store / "lower",), upper=store / "upper", work=store / "work"))
    try:
        yield merged
    finally:
        syscalls.umount(merged, constants.MNT_DETACH)


def refused(store: Path, name: str = "overlay") -> tuple[str, str | None]:
    """The message, without the store's path, and the hint of the error where *name* is wanted."""
    with pytest.raises(HostError) as error:
        choose(store, "k", name)
    return error.value.message.replace(str(store), "STORE"), error.value.hint


def test_copies_are_taken_where_neither_overlay_nor_program_serves(who: Person, store: Path) -> None:
    def on_an_overlay() -> tuple[str, tuple[str, str | None]]:
        with overlay_on(store) as merged:
            return choose(merged, "k").name, refused(merged)

    name, (message, hint) = inside(who, on_an_overlay, NO_FUSE)  # type: ignore[misc]  # a pair
    assert name == "copy"
    assert message in (
        "overlayfs does not work in STORE: it cannot be mounted: Invalid argument",
        "overlayfs does not work in STORE: a whiteout cannot be made: Operation not permitted",
    )
    assert hint == ANOTHER_STORE


@pytest.mark.parametrize("lost", [(), ("all is lost",)], ids=["faithful", "not"])
def test_the_program_is_taken_before_copies_if_it_loses_nothing(
    who: Person, store: Path, lost: tuple[str, ...], require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def on_an_overlay() -> str:
        with overlay_on(store) as merged, pytest.MonkeyPatch.context() as patch:
            patch.setattr(faithful, "lost", lambda _: lost)
            return choose(merged, "k").name

    assert inside(who, on_an_overlay, CLOSED_FUSE) == ("copy" if lost else "fuse-overlayfs")


def test_what_the_program_loses_is_found_by_trying(
    who: Person, store: Path, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()
    found = inside(who, lambda: fuse_lost(store), CLOSED_FUSE)
    known = (
        "a file that was replaced and then removed is there again",
        "new files do not take over the group of a folder with the set-group-ID bit",
        "names of 255 bytes cannot be made",
        "fifos and devices are made without regard to the umask",
    )
    # A version that mends one of them loses less; what we see to ourselves no version loses.
    assert set(found) <= set(known)  # type: ignore[call-overload]  # a tuple of sentences
    assert os.listdir(store) == []


def test_a_trial_by_which_the_kernel_s_overlay_is_measured_finds_nothing(who: Person, store: Path) -> None:
    def by_the_kernel() -> tuple[str, ...]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(faithful, "FuseOverlay", Overlay)
            store.mkdir()
            return faithful.lost(store)

    assert inside(who, by_the_kernel) == ()


def test_what_is_wanted_is_taken(who: Person, store: Path) -> None:
    assert inside(who, lambda: choose(store, "k", "copy").name) == "copy"


ERRORS = [errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL]
ALL_MOUNTS, WHITEOUTS = ("fsopen", "mount"), ("mknod", "mknodat")


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("calls", [ALL_MOUNTS, WHITEOUTS], ids=["mounts", "whiteouts"])
def test_whatever_refuses_what_an_overlay_needs_there_are_copies_and_the_hint_fits(
    who: Person, store: Path, calls: tuple[str, ...], number: int
) -> None:
    def under_a_filter() -> tuple[str, tuple[str, str | None]]:
        refuse(calls, number)
        return choose(store, "k").name, refused(store)

    taken, (message, hint) = inside(who, under_a_filter)  # type: ignore[misc]  # what it returns
    assert taken == "copy"
    what = "it cannot be mounted" if calls == ALL_MOUNTS else "a whiteout cannot be made"
    assert message == f"overlayfs does not work in STORE: {what}: {os.strerror(number)}"
    assert hint == (
        NO_MOUNTS
        if calls == ALL_MOUNTS
        else "no file system here takes a device 0:0: allow mknod(2) (a seccomp profile may forbid it),"
        " or use --isolation fuse-overlayfs or copy"
    )
    assert sorted(os.listdir(store)) == ["snapshots"]


def test_a_kernel_that_refuses_every_overlay_is_not_said_to_be_the_store_s_fault(who: Person, store: Path) -> None:
    def without_userxattr() -> tuple[str, str | None]:
        with pytest.MonkeyPatch.context() as patch:

            def performed(mount: Mount) -> None:
                # Linux before 5.11 does not know the option, and nothing here can make this one forget it.
                raise OSError(errno.EINVAL, "mount", mount.target)

            patch.setattr(mounts, "perform", performed)
            return refused(store)

    assert inside(who, without_userxattr) == (
        "overlayfs does not work in STORE: it cannot be mounted: Invalid argument",
        "no file system here takes an overlay: load the module overlay, have Linux 5.11 or later,"
        " or use --isolation fuse-overlayfs or copy",
    )


def test_a_file_system_without_attributes_is_said_to_need_another(who: Person, store: Path) -> None:
    def on_ramfs() -> tuple[str, tuple[str, str | None]]:
        store.mkdir()
        syscalls.mount("ramfs", store, "ramfs", 0)
        return choose(store, "k").name, refused(store)

    taken, (message, hint) = inside(who, on_ramfs, NO_FUSE)  # type: ignore[misc]  # what it returns
    assert taken == "copy"
    assert message.startswith("overlayfs does not work in STORE: a folder cannot be made anew: ")
    assert hint == ANOTHER_STORE


def test_a_store_that_a_program_serves_is_said_to_be_the_cause(
    who: Person, store: Path, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def on_fuse() -> tuple[str, str | None]:
        for name in ("lower", "upper", "work", "merged"):
            (store / name).mkdir(parents=True)
        served = serving.serve(store, (store / "lower",), store / "merged", upper=store / "upper", work=store / "work")
        try:
            return refused(store / "merged")
        finally:
            served.end()

    message, hint = inside(who, on_fuse, CLOSED_FUSE)  # type: ignore[misc]  # a pair
    assert message.startswith("overlayfs does not work in STORE: ")
    assert hint == ANOTHER_STORE


def test_an_overlay_needs_no_device_program_or_set_id_bit_of_its_store(who: Person, store: Path) -> None:
    def on_a_closed_mount() -> str:
        store.mkdir()
        flags = constants.MS_NODEV | constants.MS_NOSUID | constants.MS_NOEXEC
        syscalls.mount("tmpfs", store, "tmpfs", flags)
        return choose(store, "k").name

    assert inside(who, on_a_closed_mount) == "overlay"


@pytest.mark.parametrize("wanted", ["auto", "overlay", "fuse-overlayfs"])
def test_a_full_disk_is_not_said_to_refuse_overlays(
    who: Person, store: Path, wanted: str, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def on_a_full_disk() -> int | None:
        store.mkdir()
        syscalls.mount("tmpfs", store, "tmpfs", 0, "size=64k,nr_inodes=8")
        for number in range(20):
            with suppress(OSError):
                (store / str(number)).touch()
        with pytest.raises(OSError) as error:
            choose(store, "k", wanted)
        return error.value.errno

    assert inside(who, on_a_full_disk, CLOSED_FUSE) == errno.ENOSPC


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

    def under_a_filter() -> tuple[str, str | None]:
        refuse(ALL_MOUNTS, errno.EPERM)
        return refused(store, "fuse-overlayfs")

    message, hint = inside(who, under_a_filter, CLOSED_FUSE)  # type: ignore[misc]  # a pair
    assert message.startswith("fuse-overlayfs does not start: fuse")
    assert message.endswith("cannot mount: Operation not permitted")
    assert hint == NO_MOUNTS


def test_a_program_that_its_device_refuses_is_told_with_its_own_words(
    store: Path, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def with_another_device() -> tuple[str, str | None]:
        syscalls.mount("/dev/null", serving.DEVICE, "", constants.MS_BIND)
        return refused(store, "fuse-overlayfs")

    message, hint = inside(whoever_runs_this(), with_another_device, CLOSED_FUSE)  # type: ignore[misc]  # a pair
    assert message.startswith("fuse-overlayfs does not start: fuse")
    assert message.endswith("cannot mount: Invalid argument")
    assert hint == "use --isolation copy or auto"


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
    assert inside(who, lambda: refused(store, "fuse-overlayfs"), NO_FUSE) == (
        "fuse-overlayfs needs /dev/fuse, which cannot be opened: No such file or directory",
        "give the container the device (docker run --device /dev/fuse) or load the module fuse,"
        " or use --isolation copy or auto",
    )


def test_a_device_that_is_closed_to_the_user_is_told_how_to_be_opened(
    store: Path, ordinary_user: Person, require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()

    def with_a_closed_device() -> tuple[str, str | None]:
        return refused(store, "fuse-overlayfs")

    assert inside(ordinary_user, with_a_closed_device, LOCKED_FUSE) == (
        "fuse-overlayfs needs /dev/fuse, which cannot be opened: Permission denied",
        "give the user the right to open it (chmod 666 /dev/fuse), or use --isolation copy or auto",
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
