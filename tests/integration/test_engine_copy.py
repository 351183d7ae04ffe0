"""COPY into a root: what arrives, with which owner, mode and time, and what is in the way. Answers are BuildKit's."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from copies import HERE, step
from trees import MTIME, Device, Fifo, File, Folder, Link, Same, Tree, filled, make, read

from builder.engine.copying.copy import Copied, copy
from builder.engine.copying.workdir import make_workdir
from builder.engine.sources.context import open_context
from builder.engine.sources.source import TreeRoot, resolve
from builder.errors import BuilderError, ContextError, DockerfileError
from builder.plan.steps import InlineFile, WorkdirStep

USERS: Tree = {
    "etc": Folder(),
    "etc/passwd": File("root:x:0:0::/:\napp:x:1000:1000::/:\n"),
    "etc/group": File("staff:x:50:\n"),
}


@pytest.fixture(autouse=True)
def _as_root(require_root: Callable[[], None]) -> None:
    require_root()


class Bench:
    """A context, a stage's root, and the root that is copied to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = make(folder / "root", {})
        self.scratch = make(folder / "scratch", {})
        self.notes: list[str] = []

    def base(self, tree: Tree) -> None:
        make(self.root, tree)

    def context(self, tree: Tree) -> None:
        make(self.folder / "context", tree)

    def copy(self, *sources: str, fresh: bool = False, **more: Any) -> Copied:
        root = open_context(self.folder / "context", None).root if sources else None
        return copy(step(*sources, **more), root, self.root, scratch=self.scratch, fresh=fresh, note=self.notes.append)

    def copy_from_stage(self, *sources: str, **more: Any) -> Copied:
        return copy(step(*sources, **more), TreeRoot(self.folder / "stage"), self.root, scratch=self.scratch)

    def stage(self, tree: Tree) -> None:
        make(self.folder / "stage", tree)

    def tree(self) -> Tree:
        return read(self.root)

    def fails(self, *sources: str, **more: Any) -> BuilderError:
        with pytest.raises(BuilderError) as error:
            self.copy(*sources, **more)
        assert error.value.where is HERE
        return error.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- where things go -------------------------------------------------------------------------------------------------


def test_a_file_becomes_the_destination_and_its_folders_are_made(bench: Bench) -> None:
    bench.context({"a": File("x", mode=0o640, uid=7, gid=8)})
    copied = bench.copy("a", to="/new/deep/b")
    assert bench.tree() == filled({"new/deep/b": File("x", mode=0o640)})
    assert (copied.files, copied.size, copied.changed) == (1, 1, [])


def test_a_file_goes_into_a_folder_under_its_own_name(bench: Bench) -> None:
    bench.base({"there": Folder(mode=0o700)})
    bench.context({"a": File("x")})
    bench.copy("a", to="/there")
    bench.copy("a", to="/new/")
    assert bench.tree() == filled({"there": Folder(mode=0o700), "there/a": File("x"), "new/a": File("x")})


def test_a_folder_gives_its_contents_and_merges(bench: Bench) -> None:
    bench.base(
        {"dst/d": Folder(mode=0o700, uid=5), "dst/d/old": File("o"), "dst/both": File("old, and longer", mode=0o600)}
    )
    bench.context({"t/d": Folder(mode=0o775), "t/d/new": File("n"), "t/both": File("new", mode=0o755), "t/e": Folder()})
    bench.copy("t", to="/dst")
    assert bench.tree() == filled(
        {
            "dst/both": File("new", mode=0o755),
            "dst/d": Folder(mode=0o775),
            "dst/d/new": File("n"),
            "dst/d/old": File("o"),
            "dst/e": Folder(),
        }
    )


def test_a_folders_time_comes_with_its_contents(bench: Bench) -> None:
    bench.context({"t/d/f": File(), "t/d": Folder(mtime=5), "t": Folder(mtime=7)})
    bench.copy("t", to="/dst/")
    assert os.stat(bench.root / "dst").st_mtime == 7
    assert os.stat(bench.root / "dst/d").st_mtime == 5


def test_the_contexts_own_folder_has_no_time_to_give(bench: Bench) -> None:
    bench.context({"f": File()})
    os.utime(bench.folder / "context", (5, 5))
    bench.copy(".", to="/dst/")
    assert time.time() - os.stat(bench.root / "dst").st_mtime < 60


def test_nothing_is_made_for_a_pattern_without_a_match(bench: Bench) -> None:
    bench.context({"f": File()})
    bench.copy("*.nothing", to="/dst/")
    assert bench.tree() == {}


def test_the_root_itself_can_be_the_destination(bench: Bench) -> None:
    bench.context({"t/f": File("x")})
    bench.copy("t", to="/")
    assert bench.tree() == {"f": File("x")}


def test_links_on_the_way_are_followed_inside_the_root(bench: Bench) -> None:
    bench.base({"real": Folder(), "link": Link("/real"), "up": Link("../../../real"), "dangling": Link("made")})
    bench.context({"a": File("x")})
    bench.copy("a", to="/link/1")
    bench.copy("a", to="/up/")
    bench.copy("a", to="/dangling/")
    tree = bench.tree()
    assert {"real/1", "real/a", "made/a"} <= set(tree)
    assert tree["dangling"] == Link("made")


def test_a_link_that_leads_out_of_the_root_leads_to_its_top(bench: Bench) -> None:
    outside = make(bench.folder / "outside", {})
    bench.base({"out": Link(str(outside)), "file": Link(str(outside / "f"))})
    bench.context({"a": File("x")})
    bench.copy("a", to="/out/")
    bench.copy("a", to="/file")
    assert list(outside.iterdir()) == []
    assert (bench.root / str(outside).lstrip("/") / "a").read_text() == "x"


def test_a_loop_of_links_is_an_error(bench: Bench) -> None:
    bench.base({"loop": Link("loop")})
    bench.context({"a": File()})
    error = bench.fails("a", to="/loop/x")
    assert (error.message, error.code) == ('"/loop": too many links', "link-loop")


# --- what is in the way ----------------------------------------------------------------------------------------------


def test_a_file_replaces_a_file_and_not_its_other_name(bench: Bench) -> None:
    bench.base({"one": File("old"), "two": Same("one")})
    bench.context({"a": File("new")})
    bench.copy("a", to="/one")
    assert bench.tree() == {"one": File("new"), "two": File("old")}


def test_a_link_at_the_destination_is_written_through_but_in_a_tree_it_is_replaced(bench: Bench) -> None:
    bench.base({"real": File("old"), "link": Link("real"), "dst/f": Link("../real")})
    bench.context({"t/f": File("tree"), "a": File("new")})
    bench.copy("t", to="/dst")
    assert bench.tree()["real"] == File("old")
    bench.copy("a", to="/link")
    assert bench.tree() == filled({"real": File("new"), "link": Link("real"), "dst": Folder(), "dst/f": File("tree")})


def test_a_folder_onto_a_file_is_an_error(bench: Bench) -> None:
    bench.base({"file": File(), "dst/d": File(), "dst/l": Link("/")})
    bench.context({"t/d/f": File(), "u/l/f": File()})
    error = bench.fails("t", to="/file")
    assert (error.message, error.code) == ("cannot copy to non-directory: /file", "not-a-folder")
    assert bench.fails("t", to="/dst").message == "cannot copy to non-directory: /dst/d"
    assert bench.fails("u", to="/dst").message == "cannot copy to non-directory: /dst/l"
    assert bench.fails("t", to="/file/").message == "mkdir /file: not a directory"
    assert bench.fails("t", to="/file/deeper").message == "mkdir /file: not a directory"


def test_a_file_onto_a_folder_within_a_tree_is_an_error(bench: Bench) -> None:
    bench.base({"dst/d": Folder()})
    bench.context({"t/d": File()})
    error = bench.fails("t", to="/dst")
    assert (error.message, error.code) == ("cannot replace to directory /dst/d with file", "is-a-folder")


# --- kinds, modes, owners --------------------------------------------------------------------------------------------


EVERYTHING: Tree = {
    "t/suid": File("s", mode=0o4755),
    "t/none": File("n", mode=0),
    "t/sticky": Folder(mode=0o1777),
    "t/pipe": Fifo(mode=0o620),
    "t/link": Link("no/where", mtime=77),
    "t/one": File("1"),
    "t/two": Same("t/one"),
    "t/deep/three": Same("t/one"),
    "t/x": File("x"),
    "t/capable": File(
        "c", xattrs=(("security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),)
    ),
}


def test_everything_arrives_as_it_was(bench: Bench) -> None:
    bench.context(EVERYTHING)
    bench.copy("t", to="/")
    expected = filled(
        {name.removeprefix("t/"): node for name, node in EVERYTHING.items() if not isinstance(node, Same)}
    )
    got = bench.tree()
    assert {name: got[name] for name in got if name not in ("one", "two", "deep/three")} == {
        name: node for name, node in expected.items() if name != "one"
    } | {"deep": Folder()}
    assert sorted((got["deep/three"], got["one"], got["two"]), key=repr) == [
        File("1"),
        Same("deep/three"),
        Same("deep/three"),
    ]


def test_hard_links_of_different_sources_are_copies(bench: Bench) -> None:
    bench.context({"a": File("x"), "b": Same("a")})
    bench.copy("a", "b", to="/")
    assert bench.tree() == {"a": File("x"), "b": File("x")}


def test_a_socket_becomes_an_empty_file(bench: Bench) -> None:
    import socket

    bench.context({"t": Folder()})
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(bench.folder / "context/t/s"))
        os.chmod(bench.folder / "context/t/s", 0o751)
        os.utime(bench.folder / "context/t/s", (MTIME, MTIME))
        bench.copy("t", to="/")
    assert bench.tree() == {"s": File("", mode=0o751)}


def test_a_device_of_a_stage_is_made(bench: Bench) -> None:
    bench.stage({"d/null": Device("c", 1, 3, mode=0o666)})
    bench.copy_from_stage("d", to="/dev")
    assert bench.tree() == filled({"dev/null": Device("c", 1, 3, mode=0o666)})


def test_owners_are_kept_from_a_stage_alone(bench: Bench) -> None:
    tree: Tree = {"d": Folder(uid=3, gid=4), "d/f": File("x", uid=5, gid=6), "d/l": Link("f", uid=7, gid=8)}
    bench.context(tree)
    bench.stage(tree)
    bench.copy(".", to="/context/")
    bench.copy_from_stage(".", to="/stage/")
    assert bench.tree() == filled(
        {f"stage/{name}": node for name, node in tree.items()}
        | {"context/d": Folder(), "context/d/f": File("x"), "context/d/l": Link("f")}
    )


def test_chown_is_for_all_that_is_made(bench: Bench) -> None:
    bench.base(USERS | {"old": Folder(uid=9)})
    bench.context({"t/d": Folder(), "t/d/f": File(), "t/l": Link("x"), "t/p": Fifo()})
    bench.copy("t", to="/old/new/dst/", owner="app:staff")
    owners = {name: (node.uid, node.gid) for name, node in bench.tree().items() if name.startswith("old")}
    assert owners.pop("old") == (9, 0)
    assert set(owners.values()) == {(1000, 50)}


def test_an_unknown_owner_is_root_and_told(bench: Bench) -> None:
    bench.base(USERS)
    bench.context({"f": File()})
    bench.copy("f", to="/f", owner="who")
    assert bench.tree()["f"].uid == 0
    assert bench.notes == ["/etc/passwd has no user 'who': its files will belong to root"]


def test_a_name_in_chown_needs_a_root_to_look_in(bench: Bench) -> None:
    bench.context({"f": File()})
    assert bench.fails("f", to="/f", owner="app", fresh=True).code == "unknown-owner"
    assert bench.fails("f", to="/f", owner="app", link=True).code == "unknown-owner"
    bench.copy("f", to="/f", owner="5:6", fresh=True)


def test_an_octal_chmod_is_for_files_folders_and_the_way(bench: Bench) -> None:
    bench.context({"t/sub/f": File(mode=0o600), "t/run": File(mode=0o755), "t/l": Link("f")})
    bench.copy("t", to="/new/dst", mode="4750")
    modes = {name: stat.S_IMODE(node.mode) for name, node in bench.tree().items() if not isinstance(node, Link)}
    assert modes == {
        "new": 0o750,
        "new/dst": 0o750,
        "new/dst/run": 0o4750,
        "new/dst/sub": 0o4750,
        "new/dst/sub/f": 0o4750,
    }


def test_a_symbolic_chmod_changes_what_is_there(bench: Bench) -> None:
    bench.context({"t/sub": Folder(mode=0o700), "t/sub/f": File(mode=0o600), "t/run": File(mode=0o700)})
    bench.copy("t", to="/dst", mode="go=rX")
    modes = {name: stat.S_IMODE(node.mode) for name, node in bench.tree().items()}
    assert modes == {"dst": 0o755, "dst/run": 0o755, "dst/sub": 0o755, "dst/sub/f": 0o644}


def test_the_process_umask_means_nothing(bench: Bench) -> None:
    bench.context({"t/d": Folder(mode=0o777), "t/f": File(mode=0o666)})
    before = os.umask(0o077)
    try:
        bench.copy("t", to="/new/dst/")
    finally:
        os.umask(before)
    assert bench.tree() == filled({"new": Folder(), "new/dst/d": Folder(mode=0o777), "new/dst/f": File(mode=0o666)})


def test_a_setgid_folder_hands_nothing_down(bench: Bench) -> None:
    bench.base({"dst": Folder(mode=0o2775, gid=50)})
    bench.context({"t/d": Folder(), "t/f": File()})
    bench.copy("t", to="/dst/")
    assert bench.tree() == {"dst": Folder(mode=0o2775, gid=50), "dst/d": Folder(), "dst/f": File()}


def test_attributes_that_are_no_capabilities_are_not_copied(bench: Bench) -> None:
    attributes = (("user.overlay.opaque", b"y"), ("user.mine", b"1"))
    bench.context({"t/d": Folder(xattrs=attributes), "t/f": File("x", xattrs=attributes[1:])})
    bench.copy("t", to="/")
    assert bench.tree() == {"d": Folder(), "f": File("x")}


def test_large_and_sparse_files_arrive_whole(bench: Bench) -> None:
    bench.context({"t/large": File(os.urandom(3_000_001))})
    with open(bench.folder / "context/t/sparse", "wb") as file:
        file.truncate(5_000_000)
    assert bench.copy("t", to="/").size == 8_000_001
    assert (bench.root / "large").read_bytes() == (bench.folder / "context/t/large").read_bytes()
    assert (bench.root / "sparse").stat().st_size == 5_000_000


def test_a_file_that_changes_meanwhile_is_told(bench: Bench) -> None:
    bench.context({"t/f": File("x")})
    root = open_context(bench.folder / "context", None).root
    root.entries("t")
    (bench.folder / "context/t/f").write_text("longer than before")
    copied = copy(step("t", to="/"), root, bench.root, scratch=bench.scratch)
    assert copied.changed == ["t/f"]
    assert (bench.root / "f").read_text() == "longer than before"


@pytest.mark.parametrize("swapped", ["t/d", "t/d/f"])
def test_a_link_that_takes_a_files_place_meanwhile_leads_nowhere(bench: Bench, swapped: str) -> None:
    make(bench.folder / "outside", {"f": File("secret")})
    bench.context({"t/d/f": File("x")})
    root = open_context(bench.folder / "context", None).root
    for folder in ("t", "t/d"):
        root.entries(folder)
    place = bench.folder / "context" / swapped
    place.rename(bench.folder / "moved")
    place.symlink_to(bench.folder / "outside" / ("f" if swapped.endswith("f") else ""))
    with pytest.raises(ContextError) as error:
        copy(step("t", to="/"), root, bench.root, scratch=bench.scratch)
    why = "Too many levels of symbolic links" if swapped.endswith("f") else "Not a directory"
    assert error.value.message == f'"/{swapped}" in the build context cannot be read: {why}'
    assert (error.value.code, error.value.where) == ("unreadable-source", HERE)
    assert error.value.hint == "mend its permissions, or exclude it in .dockerignore"


def test_names_without_meaning_as_text_are_copied(bench: Bench) -> None:
    name = os.fsdecode(b"\xff\n")
    bench.context({"t": Folder()})
    (bench.folder / "context/t" / name).write_text("x")
    bench.copy("t", to="/")
    assert os.listdir(os.fsencode(bench.root)) == [b"\xff\n"]


def test_folders_may_be_deeper_than_any_path_is_long(bench: Bench) -> None:
    bench.context({"t": Folder()})
    here = os.open(bench.folder / "context/t", os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=here)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("f", os.O_CREAT, dir_fd=here))
    os.close(here)
    assert bench.copy("t", to="/").files == 1


# --- --parents, --exclude, --link ------------------------------------------------------------------------------------


def test_parents_keeps_folders_with_their_modes(bench: Bench) -> None:
    bench.base({"out/x": Folder(mode=0o700, uid=3)})
    bench.context(
        {"x": Folder(mode=0o750), "x/a": File("a"), "x/no": File(), "y": Folder(mode=0o711), "y/z/b": File("b")}
    )
    bench.copy("./x/a", "y/./z/b", "y/*/b", to="/out/", parents=True)
    assert bench.tree() == filled(
        {
            # of a folder that was there only the mode changes, as in fsutil (createParentDirs)
            "out/x": Folder(mode=0o750, uid=3),
            "out/x/a": File("a"),
            "out/z/b": File("b"),
            "out/y": Folder(mode=0o711),
            "out/y/z/b": File("b"),
        }
    )


def test_excluded_files_stay_behind(bench: Bench) -> None:
    bench.context({"t/a.py": File(), "t/a.txt": File(), "t/d/b.py": File()})
    bench.copy("t", to="/dst/", excludes=("**/*.py",))
    assert bench.tree() == filled({"dst/a.txt": File(), "dst/d": Folder()})


def test_link_replaces_links_and_files_on_its_way(bench: Bench) -> None:
    bench.base({"target/f": File("t"), "link": Link("target"), "file": File("old")})
    bench.context({"a": File("a"), "t/x": File("x")})
    bench.copy("a", to="/link/a", link=True)
    bench.copy("t", to="/file", link=True)
    assert bench.tree() == filled(
        {"target/f": File("t"), "link": Folder(), "link/a": File("a"), "file": Folder(), "file/x": File("x")}
    )


def test_link_makes_folders_anew_and_keeps_what_is_in_them(bench: Bench) -> None:
    bench.base({"tmp": Folder(mode=0o1777, uid=4), "tmp/old": File("o"), "tmp/d/f/deep": File()})
    bench.context({"t/d/f": File("f"), "t/d": Folder(mode=0o700)})
    bench.copy("t", to="/tmp", link=True)
    assert bench.tree() == filled(
        {"tmp": Folder(), "tmp/old": File("o"), "tmp/d": Folder(mode=0o700), "tmp/d/f": File("f")}
    )


def test_link_meets_what_the_step_itself_made(bench: Bench) -> None:
    bench.base({"dst/x/y": File()})
    bench.context({"one/x": File("file"), "two/x/y": File("folder")})
    error = bench.fails("one", "two", to="/dst/", link=True)
    assert error.message == "cannot copy to non-directory: /dst/x"
    assert bench.fails("two", "one", to="/dst/", link=True).message == "cannot replace to directory /dst/x with file"


def test_chmod_undoes_link(bench: Bench) -> None:
    bench.base({"target": Folder(), "link": Link("target")})
    bench.context({"a": File("a")})
    bench.copy("a", to="/link/a", link=True, mode="600")
    assert bench.tree() == filled({"target/a": File("a", mode=0o600), "link": Link("target")})


# --- heredocs, WORKDIR -----------------------------------------------------------------------------------------------


def test_a_heredoc_becomes_a_file(bench: Bench) -> None:
    bench.base(USERS)
    one, two = InlineFile(name="EOF", content="hi\n"), InlineFile(name="two", content="ä\udcff")
    bench.copy(to="/file", inline=(one,))
    bench.copy(to="/dir/", inline=(one, two), owner="app", mode="u+x")
    tree = bench.tree()
    assert tree["file"] == File("hi\n", mtime=tree["file"].mtime)
    assert tree["dir/EOF"] == File("hi\n", mode=0o744, uid=1000, gid=1000, mtime=tree["dir/EOF"].mtime)
    assert (bench.root / "dir/two").read_bytes() == "ä".encode() + b"\xff"


def test_workdir_makes_folders_for_its_user(bench: Bench) -> None:
    bench.base(USERS | {"srv": Folder(uid=9), "link": Link("/srv")})
    workdir = WorkdirStep(title="WORKDIR", where=HERE, path="/link//made/by/../app/", user="app:staff", epoch=1000)
    make_workdir(workdir, bench.root)
    tree = read(bench.root, folder_times=True)
    assert tree["srv"].uid == 9
    assert tree["srv/made"] == tree["srv/made/app"] == Folder(uid=1000, gid=50, mtime=1000)
    make_workdir(replace(workdir, epoch=2000), bench.root)
    assert read(bench.root, folder_times=True) == tree


def test_new_folders_in_one_with_the_set_group_id_bit_have_it_too_and_its_group(bench: Bench) -> None:
    bench.base({"own": Folder(mode=0o2770, uid=5, gid=6)})
    bench.context({"a": File("x"), "d/e": Folder(mode=0o700)})
    bench.copy("a", to="/own/new/deep/")
    bench.copy("a", to="/own/given/", owner="7:8")
    bench.copy("d", to="/own/into/")
    make_workdir(WorkdirStep(title="WORKDIR", where=HERE, path="/own/work"), bench.root)
    assert bench.tree() == filled(
        {
            "own": Folder(mode=0o2770, uid=5, gid=6),
            "own/new": Folder(mode=0o2755, gid=6),
            "own/new/deep": Folder(mode=0o2755, gid=6),
            "own/new/deep/a": File("x"),
            "own/given": Folder(mode=0o2755, uid=7, gid=8),
            "own/given/a": File("x", uid=7, gid=8),
            "own/into": Folder(mode=0o2755, gid=6),
            "own/into/e": Folder(mode=0o700),
            "own/work": Folder(mode=0o2755, gid=6),
        }
    )


def test_workdir_onto_a_file_is_an_error(bench: Bench) -> None:
    bench.base({"f": File()})
    with pytest.raises(DockerfileError) as error:
        make_workdir(WorkdirStep(title="WORKDIR", where=HERE, path="/f/x"), bench.root)
    assert error.value.message == "mkdir /f: not a directory"
    with pytest.raises(DockerfileError) as error:
        make_workdir(WorkdirStep(title="WORKDIR", where=HERE, path="/x", user="app"), bench.root, fresh=True)
    assert error.value.code == "unknown-owner"


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    bench.base({"dst/d": File()})
    bench.context({"t/d/f": File(), "u/f": File()})
    before = len(os.listdir("/proc/self/fd"))
    bench.copy("u", to="/x")
    bench.fails("t", to="/dst")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many names the kernel was given to walk, call by call: what grows with the square of a tree's depth."""
    counts: list[int] = []

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            counts.append(os.fspath(path).count("/") + 1 if isinstance(path, str | Path) else 0)
            return real(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "open", counting(os.open))
    monkeypatch.setattr(os, "stat", counting(os.stat))
    return counts


@pytest.mark.parametrize("link", [False, True])
def test_a_deep_destination_is_made_name_by_name(bench: Bench, walked: list[int], link: bool) -> None:
    depth = 1000
    deep = "/".join(["d"] * depth)
    bench.context({"f": File("x")})
    walked.clear()
    bench.copy("f", to=f"/{deep}/", link=link)
    assert sum(walked) < 60 * depth
    walked.clear()
    make_workdir(WorkdirStep(title="WORKDIR", where=HERE, path="/" + "/".join(["w"] * depth)), bench.root)
    assert sum(walked) < 60 * depth
    assert (bench.root / deep / "f").read_text() == "x"


def test_what_lies_below_a_missing_folder_is_not_looked_for(bench: Bench, walked: list[int]) -> None:
    bench.base({"here": Folder(), "link": Link("/here")})
    walked.clear()
    missing = "/".join(["m"] * 1000)
    root = TreeRoot(bench.root, noted={})
    assert resolve(root, f"link/{missing}") == f"here/{missing}"
    assert resolve(root, f"{missing}/../../x") == "/".join(["m"] * 998) + "/x"
    assert resolve(root, "m/../link/n/../../link/x") == "here/x"
    assert sum(walked) < 200
