"""Which snapshotter a place allows, by trying; as root and as an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.sandboxes import as_person

from builder.errors import HostError, UsageError
from builder.sandbox.gate import call, identity
from builder.snapshot.choose import choose, overlay_refusal
from native import constants, syscalls
from native.mounts import Mount, perform


@pytest.fixture(params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> Person:
    if request.param == "root":
        request.getfixturevalue("require_root")()
        return whoever_runs_this()
    return request.getfixturevalue("ordinary_user")


def inside(who: Person, function: Callable[[], object]) -> object:
    return as_person(who, lambda: call(lambda _send: function(), identity=identity(), on_message=print))


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


def test_what_there_is_not_is_said(store: Path) -> None:
    with pytest.raises(HostError) as unsupported:
        choose(store, "k", "fuse-overlayfs")
    assert unsupported.value.message == "the snapshotter fuse-overlayfs is not supported by this version"
    with pytest.raises(UsageError) as unknown:
        choose(store, "k", "zfs")
    assert unknown.value.message == "unknown snapshotter zfs"
