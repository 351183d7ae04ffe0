"""Mounts performed, each way that the kernel offers, behind the gate."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.sandboxes import as_person

from builder.sandbox import gate
from native import mounts, syscalls
from native.mounts import Mount, perform


@pytest.fixture(params=["root", "ordinary user"])
def behind(request: pytest.FixtureRequest, room: Path) -> Callable[[Callable[[], object]], object]:
    person: Person = (
        request.getfixturevalue("ordinary_user") if request.param == "ordinary user" else whoever_runs_this()
    )
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    person.owns(room)

    def call(function):
        def caller():
            return gate.call(lambda _: function(), identity=gate.identity(), on_message=print)

        return as_person(person, caller)

    return call


@pytest.fixture(params=["fsconfig", "mount(2)"])
def way(request, monkeypatch):
    if request.param == "mount(2)":

        def absent(*_: object) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(syscalls, "fsopen", absent)
        monkeypatch.setattr(syscalls, "open_tree", absent)


def overlay(room: Path, count: int, *, name: str = "layer") -> Mount:
    lowers = []
    for number in range(count):
        folder = room / name / f"lower,:{number}"
        folder.mkdir(parents=True)
        (folder / "which").write_text(str(number))
        (folder / f"own{number}").touch()
        lowers.append(folder)
    for word in ("upper", "work", "merged"):
        (room / word).mkdir()
    return Mount(kind="overlay", target=room / "merged", lowers=tuple(lowers), upper=room / "upper", work=room / "work")


@pytest.mark.parametrize("count", [1, 2, 125])
@pytest.mark.parametrize("name", ["layer", "l" * 200 + "/" + "m" * 200])
@pytest.mark.usefixtures("way")
def test_an_overlay_of_many_layers_with_any_names(behind, room, count, name):
    def inside():
        mount = overlay(room, count, name=name)
        perform(mount)
        (mount.target / "new").touch()
        return (mount.target / "which").read_text(), len(os.listdir(mount.target)), os.listdir(room / "upper")

    assert behind(inside) == ("0", count + 2, ["new"])


@pytest.mark.usefixtures("way")
def test_a_folder_made_over_a_deleted_one_is_opaque(behind, room):
    def inside():
        mount = overlay(room, 1)
        (mount.lowers[0] / "folder").mkdir()
        (mount.lowers[0] / "folder/old").touch()
        perform(mount)
        (mount.target / "folder/old").unlink()
        (mount.target / "folder").rmdir()
        (mount.target / "folder").mkdir()
        return os.listdir(mount.target / "folder"), os.getxattr(room / "upper/folder", "user.overlay.opaque")

    assert behind(inside) == ([], b"y")


@pytest.mark.usefixtures("way")
def test_one_layer_without_an_upper_is_seen_read_only(behind, room):
    def inside():
        mount = overlay(room, 1)
        perform(Mount(kind="overlay", target=mount.target, lowers=mount.lowers))
        with pytest.raises(OSError, match="Read-only file system"):
            (mount.target / "new").touch()
        return (mount.target / "which").read_text()

    assert behind(inside) == "0"


@pytest.mark.usefixtures("way")
def test_a_read_only_bind_is_so_at_every_depth(behind, room):
    def inside():
        for name in ("source/in", "target"):
            (room / name).mkdir(parents=True)
        syscalls.mount("tmpfs", room / "source/in", "tmpfs")
        perform(Mount(kind="rbind", source=room / "source", target=room / "target", read_only=True, nosuid=True))
        flags = [os.statvfs(room / "target" / name).f_flag & 3 for name in ("", "in")]
        return flags, os.statvfs(room / "source/in").f_flag & 1

    assert behind(inside) == ([3, 3], 0)


@pytest.mark.usefixtures("way")
def test_a_bind_is_made_on_a_descriptor_too(behind, room):
    def inside():
        for name in ("source", "target"):
            (room / name).mkdir()
        (room / "source/file").touch()
        fd = os.open(room / "target", os.O_PATH)
        perform(Mount(kind="bind", source=room / "source", target=Path(f"/proc/self/fd/{fd}"), read_only=True))
        return os.listdir(room / "target"), os.statvfs(room / "target").f_flag & 1

    assert behind(inside) == (["file"], 1)


@pytest.mark.usefixtures("way")
def test_inherited_flags_may_stay_and_are_repeated(behind):
    # /proc has nosuid, nodev and noexec on almost every machine; a user namespace may not lose them.
    def inside():
        before = os.statvfs("/proc").f_flag
        perform(Mount(kind="rbind", source=Path("/proc"), target=Path("/proc"), read_only=True))
        return os.statvfs("/proc").f_flag & before == before & ~0 and bool(os.statvfs("/proc").f_flag & 1)

    assert behind(inside) is True


@pytest.mark.usefixtures("way")
def test_a_missing_target_is_told_with_the_call_and_the_path(behind, room):
    def inside():
        try:
            perform(Mount(kind="bind", source=Path("/etc"), target=room / "absent"))
        except OSError as error:
            return error.errno, str(error.filename)
        return None

    assert behind(inside) == (2, str(room / "absent"))


def test_more_layers_than_one_page_of_options_can_say_are_an_error(behind, room):
    def inside():
        mount = overlay(room, 250)
        try:
            mounts._overlay_by_options(mount)
        except OSError as error:
            return error.strerror
        return None

    assert behind(inside) == "mount: 250 layers are too many for this kernel"
