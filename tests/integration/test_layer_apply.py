"""Archives against the file system: hostile ones stay inside, others arrive whole. Needs root for owners."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from trees import Device, Fifo, File, Folder, Link, Same, Tree, filled, make, read

from builder.errors import BuilderError, ImageError, StoreError
from builder.layer import xattrs
from builder.layer.apply import apply
from builder.layer.changes import Entry, Removed
from builder.layer.content import content_digest
from builder.layer.extract import extract, is_archive
from builder.layer.index import difference, index
from builder.layer.pack import pack
from builder.layer.scan import scan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def tar(*members: dict[str, object] | str) -> io.BytesIO:
    """An archive: of names of empty files, or of TarInfo's attributes and ``data``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            fields = {"name": member} if isinstance(member, str) else dict(member)
            data = fields.pop("data", b"")
            info = tarfile.TarInfo()
            info.mtime = 1_000_000_000
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def link(name: str, target: str) -> dict[str, object]:
    return {"name": name, "type": tarfile.SYMTYPE, "linkname": target}


def hard(name: str, target: str) -> dict[str, object]:
    return {"name": name, "type": tarfile.LNKTYPE, "linkname": target}


def folder(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "type": tarfile.DIRTYPE, "mode": 0o755, **more}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def applied(root: Path, *members: dict[str, object] | str) -> Tree:
    apply(tar(*members), root, whiteouts="remove")
    return read(root)


def refused(root: Path, *members: dict[str, object] | str) -> BuilderError:
    with pytest.raises(BuilderError) as error:
        apply(tar(*members), root, whiteouts="remove")
    return error.value


HOSTILE = [
    ["/etc/x"],
    ["../outside/secret"],
    ["a/../../outside/secret"],
    [link("l", "../outside"), "l/secret"],
    [link("l", "/../../outside"), "l/secret"],
    [link("a", "."), link("a/b", "../../outside"), "a/b/secret"],
    [hard("h", "../outside/secret")],
    [hard("h", "/outside/secret")],
    [link("l", "../outside"), hard("h", "l/secret")],
    [link("l", "../outside"), folder("l"), "l/secret"],
    [link("l", "../outside/secret"), {"name": "l", "data": b"gone"}],
    [folder("d"), "d/f", link("d", "../outside"), "d/secret"],
    [link("l", "../outside"), ".wh.l", "l/.wh.secret", "l/.wh..wh..opq"],
    [link("l", "../outside"), "l/.wh..wh..opq"],
    [".wh...", ".wh..", ".wh."],
    ["a/b/c", link("a", "../outside"), folder("a/secret")],
]


@pytest.mark.parametrize("members", HOSTILE)
@pytest.mark.parametrize("way", ["remove", "overlay", "extract"])
def test_nothing_outside_is_read_or_written(root: Path, members: list, way: str) -> None:
    before = read(root.parent / "outside", folder_times=True), sorted(os.listdir(root.parent))
    try:
        if way == "extract":
            extract(tar(*members), root, "/")
        else:
            apply(tar(*members), root, whiteouts=way)
    except ImageError:
        pass  # a refusal is as good
    assert (read(root.parent / "outside", folder_times=True), sorted(os.listdir(root.parent))) == before
    for path in root.rglob("*"):
        assert (
            path.is_symlink()
            or not path.is_file()
            or path.stat().st_ino != (root.parent / "outside/secret").stat().st_ino
        )


def test_settling_follows_no_link_that_came_later(root: Path, tmp_path: Path) -> None:
    below = make(tmp_path / "below", {"a/outside": Folder(mode=0o777), "a/x": File("")})

    class Below:
        def find(self, path: bytes) -> bytes | None:
            there = os.fsencode(below) + b"/" + path
            return there if os.path.lexists(there) else None

        def names(self, folder: bytes) -> set[bytes]:
            return set()

    before = read(root.parent / "outside", folder_times=True), (root.parent / "outside").stat().st_mode
    data = tar("a/outside/f", "a/.wh.gone", link("a", str(root.parent)))
    apply(data, root, whiteouts="overlay", base_lookup=Below())
    assert (read(root.parent / "outside", folder_times=True), (root.parent / "outside").stat().st_mode) == before


def test_a_loop_of_links_is_refused(root: Path) -> None:
    error = refused(root, link("a", "b"), link("b", "a"), "a/x")
    assert (error.code, error.message) == ("malformed-archive", "'a' is behind a loop of links")


def test_a_file_in_a_file_is_refused(root: Path) -> None:
    assert refused(root, "a", "a/b").message == "'a' is no folder, and the archive has something in it"


def test_a_hard_link_to_nothing_is_refused(root: Path) -> None:
    assert refused(root, hard("a", "b")).message == "'a' is a hard link to 'b', which is not there"


def test_a_hard_link_to_a_folder_is_refused(root: Path) -> None:
    assert refused(root, folder("d"), hard("a", "d")).message == "'a' is a hard link to a folder"


def test_a_path_that_is_too_long_only_together_with_its_roots_is_scanned(root: Path) -> None:
    root = root / ("r" * 200)
    root.mkdir()
    path = "/".join(["d" * 99] * 39)  # with the root's, longer than PATH_MAX (limits.h)
    apply(
        tar({"name": path, "type": tarfile.DIRTYPE, "mode": 0o755}, link(f"{path}/l", "to")), root, whiteouts="remove"
    )
    assert [entry.link for entry in scan(root)][-1] == b"to"
    known = index(root)
    assert list(difference(known, root)) == []
    assert list(known.known)[-2:] == [path.encode(), f"{path}/l".encode()]


def test_a_name_that_is_too_long_is_refused(root: Path) -> None:
    error = refused(root, "n" * 256)
    assert (type(error), error.message) == (ImageError, f"cannot unpack the layer: '{'n' * 256}': File name too long")


def test_a_layer_that_is_cut_is_refused(root: Path) -> None:
    data = tar({"name": "a", "data": b"x" * 2000}).getvalue()[:1500]
    with pytest.raises(ImageError) as error:
        apply(io.BytesIO(data), root, whiteouts="remove")
    assert error.value.message == "the archive is damaged: it ends in the middle of a file"


def test_later_entries_replace_earlier_ones_and_folders_are_joined(root: Path) -> None:
    tree = applied(
        root,
        {"name": "f", "data": b"1"},
        {"name": "f", "data": b"2", "mode": 0o600},
        folder("d", mode=0o700),
        "d/x",
        folder("d", mode=0o711),
        folder("was-a-file"),
        "file",
        folder("file"),
        folder("folder"),
        "folder/in",
        "folder",
    )
    assert tree == filled(
        {
            "d": Folder(mode=0o711),
            "d/x": File(""),
            "f": File("2", mode=0o600),
            "file": Folder(),
            "folder": File(""),
            "was-a-file": Folder(),
        }
    )


def test_names_through_links_inside_land_where_they_lead(root: Path) -> None:
    tree = applied(
        root, folder("usr/lib"), link("lib", "usr/lib"), "lib/x", link("abs", "/usr"), "abs/y", link("v", "/no"), "v/z"
    )
    assert {"usr/lib/x", "usr/y", "no/z"} <= set(tree)
    assert tree["lib"] == Link("usr/lib")


def test_times_of_folders_are_set_at_the_end(root: Path) -> None:
    applied(root, folder("d", mtime=5), "d/a", "d/b")
    assert (root / "d").stat().st_mtime == 5


def test_whiteouts_remove_what_was_below_and_spare_what_the_layer_holds(root: Path) -> None:
    make(root, {"a/b": File("1"), "a/c/d": File("2"), "e": File("3"), "own": File("4")})
    assert applied(root, "a/.wh.c", ".wh.e", ".wh.nothing", "own", ".wh.own") == filled(
        {"a/b": File("1"), "own": File("")}
    )


def test_an_opaque_folder_spares_what_the_layer_holds_wherever_the_mark_stands(root: Path) -> None:
    make(root, {"a/b/old": File("1"), "a/c": File("2"), "k": File("k")})
    assert applied(root, "a/b/new", "a/.wh..wh..opq", "a/later") == filled(
        {"a/b/new": File(""), "a/later": File(""), "k": File("k")}
    )


def test_in_overlays_way_deletions_become_marks(root: Path) -> None:
    done = apply(tar("a/.wh.c", folder("o"), "o/.wh..wh..opq", ".wh.x", folder("x")), root, whiteouts="overlay")
    assert (root / "a/c").lstat().st_rdev == 0
    assert stat.S_ISCHR((root / "a/c").lstat().st_mode)
    assert os.getxattr(root / "o", "user.overlay.opaque") == b"y"
    assert os.getxattr(root / "x", "user.overlay.opaque") == b"y"
    assert (done.implied, done.whiteouts) == ((b"", b"a"), (b"a/c", b"x"))


def test_a_device_that_overlay_would_take_for_a_deletion_is_left_out_and_noted(root: Path) -> None:
    null = {"name": "n", "type": tarfile.CHRTYPE, "devmajor": 0, "devminor": 0}
    done = apply(tar(null), root, whiteouts="overlay")
    assert (os.listdir(root), done.notes) == ([], ("'n': a character device 0:0 cannot be kept",))


def test_marks_of_overlay_in_an_image_are_not_marks_here(root: Path) -> None:
    data = tar(folder("d", pax_headers={"SCHILY.xattr.user.overlay.opaque": "y"}))
    apply(data, root, whiteouts="overlay")
    assert os.listxattr(root / "d") == ["user.overlay.overlay.opaque"]


def test_attributes_that_are_not_kept_are_noted(root: Path) -> None:
    done = apply(tar({"name": "f", "pax_headers": {"SCHILY.xattr.trusted.x": "1"}}), root, whiteouts="remove")
    assert done.notes == ("'f': the attribute 'trusted.x' is not kept",)


def test_a_sparse_file_is_written_with_its_holes(root: Path, tmp_path: Path) -> None:
    import subprocess

    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.seek(50_000_000)
        file.write(b"end")
    for form in ("gnu", "posix"):
        data = subprocess.run(
            ["tar", "cS", f"--format={form}", "-C", str(tmp_path), "sparse"], capture_output=True, check=True
        ).stdout
        apply(io.BytesIO(data), root, whiteouts="remove")
        assert (root / "sparse").read_bytes() == source.read_bytes()
        assert (root / "sparse").stat().st_blocks < 100


RICH: Tree = {
    "block": Device("b", 7, 200, gid=6, mode=0o640),
    "cap": File("x", mode=0o755, xattrs=(("security.capability", bytes.fromhex("01000002" + "00040000" + "00" * 12)),)),
    "char": Device("c", 300, 70000),
    "closed/in": File("in", mode=0),
    "empty": Folder(mode=0o2775, uid=3_000_000, gid=2**32 - 2),
    "fifo": Fifo(mode=0o620),
    "link": Link("../../../etc", uid=5, gid=6),
    "n" * 255: File("long"),
    "odd \udcff\n": File("", mtime=-5),
    "one": File(b"\xff\0" * 1000),
    "su": File("", mode=0o6755, uid=33),
    "two": Same("one"),
    "xattr": File("", xattrs=(("user.a", b"\0"), ("user.b", b"x" * 1000))),
    "z/" + "/".join(["p" * 60] * 6): File("deep", mtime=10_000_000_000),
}


def test_what_is_packed_is_what_is_applied(root: Path, tmp_path: Path) -> None:
    source = make(tmp_path / "source", RICH)
    out = io.BytesIO()
    packed = pack((entry for entry in scan(source) if entry.path), source, out)
    out.seek(0)
    done = apply(out, root, whiteouts="remove")
    assert (done.diff_id, done.size, done.entries) == (packed.diff_id, packed.size, packed.entries)
    assert read(root, folder_times=False) == filled(RICH)
    again = io.BytesIO()
    pack((entry for entry in scan(root) if entry.path), root, again)
    assert content_digest(scan(root), root) == content_digest(scan(source), source)


def test_gnu_tar_reads_what_we_pack(root: Path, tmp_path: Path) -> None:
    import subprocess

    source = make(tmp_path / "source", RICH)
    with (tmp_path / "layer.tar").open("wb") as out:
        pack((entry for entry in scan(source) if entry.path), source, out)
    subprocess.run(
        [
            "tar",
            "xpf",
            str(tmp_path / "layer.tar"),
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
            str(root),
        ],
        check=True,
    )
    assert read(root) == filled(RICH)


def test_times_are_clamped_when_asked(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"new": File("", mtime=2_000_000_000), "old": File("", mtime=5)})
    out = io.BytesIO()
    pack((entry for entry in scan(source) if entry.path), source, out, clamp=1_500_000_000)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert {info.name: info.mtime for info in archive} == {"new": 1_500_000_000, "old": 5}


def test_a_name_that_means_a_deletion_cannot_be_packed(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"d/.wh.x": File("")})
    with pytest.raises(ImageError) as error:
        pack(scan(source), source, io.BytesIO())
    assert error.value.message == "a file is called 'd/.wh.x', and no layer can hold a name that begins with '.wh.'"


def test_a_file_that_shrinks_or_vanishes_while_it_is_packed_is_told(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {"f": File("0123456789")})
    entries = list(scan(source))
    (source / "f").write_text("01234")
    with pytest.raises(StoreError) as error:
        pack(entries, source, io.BytesIO())
    assert error.value.message == "cannot read 'f' for its layer: it is 5 bytes shorter than it was"
    (source / "f").unlink()
    with pytest.raises(StoreError) as error:
        pack(entries, source, io.BytesIO())
    assert error.value.message == "cannot read 'f' for its layer: No such file or directory"


def test_an_error_of_the_one_who_takes_the_bytes_reaches_the_caller(tmp_path: Path) -> None:
    source = make(tmp_path / "source", {f"f{number}": File("x" * 300_000) for number in range(30)})

    class Full:
        def write(self, _data: bytes) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        pack(scan(source), source, Full())


def test_differences_are_found_without_reading_files(tmp_path: Path) -> None:
    import time

    root = make(
        tmp_path / "tree", {"a/x": File("1"), "a/y": File("2"), "b/z/q": File("3"), "c": File("4"), "d": Link("c")}
    )
    before = index(root)
    assert list(difference(before, root)) == []
    time.sleep(0.02)
    (root / "a/y").unlink()
    (root / "c").write_text("5")
    os.utime(root / "c", (1_000_000_000, 1_000_000_000))
    make(root, {"b/new": File("")})
    told = [(type(change), change.path) for change in difference(before, root) if isinstance(change, Entry | Removed)]
    assert told == [(Entry, b"a"), (Removed, b"a/y"), (Entry, b"b"), (Entry, b"b/new"), (Entry, b"c")]


class TestExtract:
    """ADD of an archive."""

    def test_it_merges_into_what_is_there(self, root: Path) -> None:
        make(root, {"dst/keep": File("keep"), "dst/both": File("old", mode=0o600), "dst/d/inner": File("in")})
        data = tar({"name": "both", "data": b"new"}, folder("d", mode=0o700, uid=9, gid=9), "d/added")
        extract(data, root, "/dst")
        assert read(root) == filled(
            {
                "dst/both": File("new"),
                "dst/d": Folder(mode=0o700, uid=9, gid=9),
                "dst/d/added": File(""),
                "dst/d/inner": File("in"),
                "dst/keep": File("keep"),
            }
        )

    def test_an_owner_overrides_those_of_the_archive(self, root: Path) -> None:
        extract(
            tar(folder("d", uid=5, gid=6), {"name": "d/f", "uid": 5}, link("l", "d/f")), root, "/", owner=(1000, 50)
        )
        assert {(node.uid, node.gid) for node in read(root).values()} == {(1000, 50)}

    def test_names_stop_at_the_destination(self, root: Path) -> None:
        (root / "dst").mkdir()
        extract(tar("ok", "../up", "a/../../../etc/passwd", "/abs"), root, "dst")
        assert list(read(root)) == ["dst", "dst/abs", "dst/etc", "dst/etc/passwd", "dst/ok", "dst/up"]

    def test_a_file_behind_a_link_that_leads_out_is_refused(self, root: Path) -> None:
        make(root, {"dst": Folder(), "esc/keep": File("keep")})
        with pytest.raises(ImageError) as error:
            extract(tar(link("up", "../esc"), "up/f"), root, "/dst")
        assert error.value.message == "'esc' is behind a link that leads to nothing here, perhaps outside"
        assert os.listdir(root / "esc") == ["keep"]

    def test_whiteout_names_are_plain_files(self, root: Path) -> None:
        make(root, {"x": File("")})
        extract(tar(".wh.x"), root, "/")
        assert list(read(root)) == [".wh.x", "x"]

    def test_attributes_of_users_are_left_out_and_told_of(self, root: Path) -> None:
        capability = "0100000200200000000000000000000000000000"
        attributes = {
            "SCHILY.xattr.user.a": "1",
            "SCHILY.xattr.security.capability": bytes.fromhex(capability).decode(),
        }
        done = extract(tar({"name": "f", "pax_headers": attributes}), root, "/")
        assert done.notes == ("'f': the attribute 'user.a' is not kept",)
        assert list(xattrs.read(os.fsencode(root / "f"))) == [b"security.capability"]

    def test_the_entry_of_the_root_changes_nothing(self, root: Path) -> None:
        root.chmod(0o711)
        extract(tar(folder("./", mode=0o700, uid=5), "f"), root, "/")
        assert (root.stat().st_mode & 0o777, root.stat().st_uid) == (0o711, 0)

    @pytest.mark.parametrize("program", ["cat", "gzip", "bzip2", "xz", "zstd"])
    def test_compressed_archives_are_known_by_their_content(self, root: Path, program: str) -> None:
        import shutil
        import subprocess

        if shutil.which(program) is None:
            pytest.skip(f"not installed: {program}")
        data = subprocess.run([program], input=tar({"name": "f", "data": b"x"}).getvalue(), capture_output=True).stdout
        assert is_archive(io.BytesIO(data))
        extract(io.BytesIO(data), root, "/")
        assert (root / "f").read_text() == "x"

    @pytest.mark.parametrize("data", [b"", b"hello", bytes(2048), b"\x1f\x8bgarbage", b"PK\3\4", os.urandom(2048)])
    def test_other_files_are_no_archives(self, data: bytes) -> None:
        assert not is_archive(io.BytesIO(data))
