"""The root file system as a tar and as a folder, hostile names and links included."""

import os
import subprocess
import tarfile

import pytest
from trees import Fifo, File, Folder, Link, Same, make, read

from builder.errors import HostError
from builder.export.rootfs import write_folder, write_tar
from builder.layer.scan import scan

TREE = {
    "bin": Folder(),
    "bin/sh": File("#!", mode=0o755),
    "bin/ash": Same("bin/sh"),
    "etc": Folder(mode=0o750),
    "etc/empty": File(""),
    "etc/name with \udcff": File(b"\xff\x00"),
    "link": Link("/etc/passwd"),
    "loop": Link("loop"),
    "closed": Folder(mode=0o000),
    "closed/in": File("x", mode=0o000),
    "sticky": Folder(mode=0o1777),
}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    return make(root, TREE)


@pytest.fixture(autouse=True)
def _root(require_root):
    require_root()


def export(tree, dest, **more):
    return write_folder(scan(tree), tree, dest, **more)


def test_a_folder_holds_what_the_root_holds(tree, tmp_path):
    dest = tmp_path / "out/deep"
    assert export(tree, dest) == 2 + 2 + 1
    assert read(dest, folder_times=True) == read(tree, folder_times=True)


def test_exporting_again_replaces_what_is_there(tree, tmp_path):
    dest = tmp_path / "out"
    export(tree, dest)
    (dest / "mine").write_text("mine")
    (dest / "bin/sh").write_text("changed")
    (dest / "link").unlink()
    (dest / "link").mkdir()
    export(tree, dest)
    (dest / "mine").unlink()
    assert read(dest) == read(tree)


def test_no_link_at_the_destination_is_followed(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sh").write_text("safe")
    dest = tmp_path / "out"
    dest.mkdir()
    (dest / "bin").symlink_to(outside)
    (dest / "etc").mkdir()
    (dest / "etc/empty").symlink_to(outside / "sh")
    export(tree, dest)
    assert (outside / "sh").read_text() == "safe"
    assert os.listdir(outside) == ["sh"]
    assert read(dest) == read(tree)


def test_a_destination_that_is_a_link_is_taken(tree, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    export(tree, tmp_path / "link")
    assert read(tmp_path / "real") == read(tree)


def test_special_files_are_left_out_with_a_note(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree, {"dev/pipe": Fifo(), "dev/other": Same("dev/pipe"), "x": File("x")})
    os.mknod(tree / "dev/null", 0o20666, os.makedev(1, 3))
    notes = []
    export(tree, tmp_path / "out", note=notes.append)
    assert sorted(notes) == [
        "left out 'dev/null': a device cannot be exported to a folder",
        "left out 'dev/other': a pipe cannot be exported to a folder",
    ]
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")) == ["dev", "x"]


def test_a_setuid_bit_of_another_owner_is_not_given_to_the_caller(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree, {"own": File("x", mode=0o4755), "other": File("x", mode=0o6755, uid=1000, gid=1000)})
    export(tree, tmp_path / "out")
    assert (tmp_path / "out/own").stat().st_mode & 0o7777 == 0o4755
    assert (tmp_path / "out/other").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/other").stat().st_uid == 0


def test_times_are_clamped(tree, tmp_path):
    export(tree, tmp_path / "out", clamp=5)
    assert (tmp_path / "out/bin").stat().st_mtime == 5
    assert (tmp_path / "out/bin/sh").stat().st_mtime == 5
    assert (tmp_path / "out/link").lstat().st_mtime == 5


def test_a_path_longer_than_the_kernel_takes_is_exported(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with open(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.close(fd)
    assert export(tree, tmp_path / "out") == 4
    for path in (tree, tmp_path / "out"):
        subprocess.run(["rm", "-rf", path], check=True)


def test_a_folder_with_something_in_it_is_not_replaced_by_a_file(tree, tmp_path):
    (tmp_path / "out/link/mine").mkdir(parents=True)
    with pytest.raises(HostError) as caught:
        export(tree, tmp_path / "out")
    assert caught.value.message == "cannot replace the folder 'link' by a file: it is not empty"


def test_a_tar_holds_what_the_root_holds(tree, tmp_path):
    size = write_tar(scan(tree), tree, tmp_path / "x.tar")
    assert size == (tmp_path / "x.tar").stat().st_size
    (tmp_path / "back").mkdir()
    subprocess.run(["tar", "-xpf", tmp_path / "x.tar", "-C", tmp_path / "back"], check=True)
    assert read(tmp_path / "back") == read(tree)
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("bin/sh").islnk() or tar.getmember("bin/ash").islnk()


def test_an_ordinary_user_exports_what_is_readable(tmp_path, ordinary_user, workroom):
    import tempfile
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(dir=workroom))
    tree = folder / "tree"
    tree.mkdir()
    make(tree, {"a/b": File("x", mode=0o4755, uid=0)})
    ordinary_user.owns(folder)
    folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(ordinary_user.gid)
            os.setuid(ordinary_user.uid)
            export(tree, folder / "out")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    status = (folder / "out/a/b").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (ordinary_user.uid, 0o755)
