"""Mount points: found whatever links say, made where missing, cleaned afterwards. Needs no privilege."""

import os
from pathlib import Path

import pytest

from builder.sandbox.stubs import Points, clean_stubs


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


@pytest.fixture
def points(root):
    fd = os.open(root, os.O_PATH)
    yield Points(fd)
    os.close(fd)


def where(points: Points, path: str, *, folder: bool = True, kept: bool = False) -> Path:
    fd = points.find(path, folder=folder, kept=kept)
    try:
        return Path(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def made(points: Points) -> list[tuple[str, bool]]:
    return [(stub.path, stub.folder) for stub in points.stubs]


def test_what_is_there_is_found_and_nothing_is_made(points, root):
    assert where(points, "/etc/") == root / "etc"
    assert where(points, "/") == root
    assert points.stubs == []


def test_what_is_missing_is_made_from_the_top(points, root):
    assert where(points, "/new/deep/file", folder=False) == root / "new/deep/file"
    assert made(points) == [("/new", True), ("/new/deep", True), ("/new/deep/file", False)]


def test_what_is_kept_is_no_stub(points, root):
    assert where(points, "proc", kept=True) == root / "proc"
    assert points.stubs == []


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/etc", "etc/x"),
        ("etc", "etc/x"),
        ("../../../../etc", "etc/x"),
        ("/proc/self/root/etc", "proc/self/root/etc/x"),
        ("/absent", "absent/x"),
    ],
)
def test_links_are_followed_inside_the_root(points, root, target, found):
    (root / "link").symlink_to(target)
    assert where(points, "/link/x") == root / found


def test_dots_do_not_lead_above_the_root(points, root):
    assert where(points, "/../../outside/./x") == root / "outside/x"
    assert list((root.parent / "outside").iterdir()) == []


def test_links_in_a_circle_end(points, root):
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        points.find("/one/x", folder=True)


def test_a_file_on_the_way_is_an_error(points, root):
    (root / "file").touch()
    with pytest.raises(NotADirectoryError):
        points.find("/file/x", folder=True)


def test_no_descriptor_is_left_open(points, root):
    (root / "one").symlink_to("etc")
    (root / "file").touch()
    before = os.listdir("/proc/self/fd")
    where(points, "/one/../new/x")
    with pytest.raises(NotADirectoryError):
        points.find("/new/../file/x", folder=True)
    assert os.listdir("/proc/self/fd") == before


def test_stubs_are_removed_and_their_folders_times_restored(points, root):
    os.utime(root / "etc", ns=(10**18, 10**18))
    where(points, "/etc/a/b")
    where(points, "/etc/file", folder=False)
    clean_stubs(root, points.stubs)
    assert list((root / "etc").iterdir()) == []
    assert (root / "etc").stat().st_mtime_ns == 10**18


def test_a_folder_that_was_changed_meanwhile_keeps_its_new_time(points, root):
    where(points, "/etc/file", folder=False)
    (root / "etc/kept").touch()
    os.utime(root / "etc", ns=(2 * 10**18, 2 * 10**18))
    clean_stubs(root, points.stubs)
    assert [entry.name for entry in (root / "etc").iterdir()] == ["kept"]
    assert (root / "etc").stat().st_mtime_ns == 2 * 10**18


def test_what_is_no_longer_empty_is_kept(points, root):
    where(points, "/one/in", folder=True)
    where(points, "/two", folder=False)
    (root / "one/in/kept").touch()
    (root / "two").write_text("kept")
    clean_stubs(root, points.stubs)
    assert (root / "one/in/kept").exists()
    assert (root / "two").read_text() == "kept"


def test_what_was_replaced_is_left_alone(points, root):
    where(points, "/one/in", folder=True)
    where(points, "/two", folder=False)
    (root / "one/in").rmdir()
    (root / "one").rmdir()
    (root / "one").symlink_to(root.parent / "outside")
    (root.parent / "outside/in").mkdir()
    (root / "two").unlink()
    (root / "two").symlink_to("nowhere")
    clean_stubs(root, points.stubs)
    assert (root.parent / "outside/in").is_dir()
    assert (root / "two").is_symlink()
