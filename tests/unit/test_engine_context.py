"""The build context: what its ignore file leaves, and what is remembered of its files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copies import step
from trees import Fifo, File, Folder, Link, Tree, make

from builder.engine.copying.hashing import selection_digest
from builder.engine.sources import file_hashes
from builder.engine.sources.context import Context, find_ignore, open_context
from builder.errors import ContextError
from builder.layer.removal import remove_tree


def listed(folder: Path) -> list[str]:
    return [item.path for item in open_context(folder, None).ls()]


def with_ignore(tmp_path: Path, text: str, tree: Tree) -> Path:
    return make(tmp_path / "context", {**tree, ".dockerignore": File(text)})


def test_a_context_without_an_ignore_file_is_the_folder(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "context", {"a/b": File(), ".c": File(), "d": Folder(), "e": Link("/nowhere"), "f": Fifo()}
    )
    assert listed(folder) == [".c", "a", "a/b", "d", "e", "f"]


def test_what_is_ignored_is_not_there(tmp_path: Path) -> None:
    folder = with_ignore(
        tmp_path, "*.log\nbuild/\n", {"a.log": File(), "b": File(), "build/x": File(), "d/a.log": File()}
    )
    assert listed(folder) == [".dockerignore", "b", "d", "d/a.log"]
    assert open_context(folder, None).root.lstat("build/x") is None


def test_an_ignored_folder_is_there_for_what_is_taken_back(tmp_path: Path) -> None:
    tree: Tree = {"a/b/keep": File(), "a/b/drop": File(), "a/c/drop": File(), "other": File()}
    folder = with_ignore(tmp_path, "*\n!**/keep\n", tree)
    assert listed(folder) == ["a", "a/b", "a/b/keep"]


def test_an_ignored_folder_without_exceptions_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_ignore(tmp_path, "node_modules\n", {"node_modules/a/b": File(), "x": File()})
    opened: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: (opened.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    assert listed(folder) == [".dockerignore", "x"]
    assert opened == [str(folder)]


def test_folders_may_be_deeper_than_any_path_is_long(tmp_path: Path) -> None:
    folder = with_ignore(tmp_path, "*\n!**/keep\n", {"top": Folder()})
    here = os.open(folder / "top", os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        assert listed(folder) == []
        os.close(os.open("keep", os.O_CREAT, dir_fd=here))
        assert len(listed(folder)) == 1202
    finally:
        os.close(here)
        here = os.open(folder, os.O_RDONLY)
        remove_tree(b"top", here)  # shutil's is recursive
        os.close(here)


def test_why_names_the_line_that_decides(tmp_path: Path) -> None:
    folder = with_ignore(tmp_path, "# comment\n*.log\n!keep.log\n", {"a.log": File(), "keep.log": File(), "b": File()})
    context = open_context(folder, None)
    shown = [
        (why.included, why.name, why.line, why.pattern)
        for why in map(context.why, ("a.log", "keep.log", "./b", "x.log"))
    ]
    assert shown == [
        (False, ".dockerignore", 2, "*.log"),
        (True, ".dockerignore", 3, "!keep.log"),
        (True, ".dockerignore", 0, ""),
        (False, ".dockerignore", 2, "*.log"),
    ]


def test_a_missing_source_that_is_ignored_says_by_what(tmp_path: Path) -> None:
    folder = with_ignore(tmp_path, "\nsecret.*\n", {"secret.key": File()})
    with pytest.raises(ContextError) as error:
        selection_digest(open_context(folder, None).root, step("secret.key"))
    assert error.value.message == '"/secret.key": not found'
    assert error.value.hint == "it is excluded by .dockerignore:2: secret.*"


def test_the_dockerfiles_own_ignore_file_comes_first(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "context",
        {".dockerignore": File("a\n"), "sub/Other": File(), "sub/Other.dockerignore": File("b\n"), "a": File()},
    )
    assert find_ignore(folder, folder / "sub" / "Other") == ("Other.dockerignore", b"b\n")
    assert find_ignore(folder, folder / "Dockerfile") == (".dockerignore", b"a\n")
    assert find_ignore(folder, None) == (".dockerignore", b"a\n")
    assert find_ignore(folder / "sub", None) is None


def test_an_ignore_file_is_not_read_outside_its_folder(tmp_path: Path) -> None:
    make(tmp_path, {"outside": File("*\n")})
    folder = make(tmp_path / "context", {".dockerignore": Link("../outside"), "a": File()})
    assert find_ignore(folder, None) is None


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (Folder(), "is not a file"),
        (Fifo(), "is not a file"),
        (Link(".dockerignore"), "cannot be read: too many links"),
        (File("x\n" * 600_000), "is larger than 1 MiB"),
    ],
)
def test_an_ignore_file_that_is_none_is_an_error(tmp_path: Path, node: File | Folder | Fifo | Link, why: str) -> None:
    folder = make(tmp_path / "context", {".dockerignore": node})
    with pytest.raises(ContextError) as error:
        find_ignore(folder, None)
    assert error.value.message == f"{folder}/.dockerignore {why}"


def test_a_context_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, {"file": File()})
    with pytest.raises(ContextError) as error:
        Context.open(tmp_path / "file")
    assert error.value.message == f"the build context {tmp_path}/file cannot be opened: Not a directory"
    with pytest.raises(ContextError) as error:
        Context.open(tmp_path / "gone", name="other")
    assert error.value.message == f"the build context other {tmp_path}/gone cannot be opened: No such file or directory"


def test_the_newest_file_tells_the_time(tmp_path: Path) -> None:
    folder = make(tmp_path / "context", {"a": File(mtime=5), "b/c": File(mtime=7)})
    assert open_context(folder, None).newest() == 7


# --- digests ---------------------------------------------------------------------------------------------------------


def digest(folder: Path, *sources: str, **more: Any) -> str:
    return selection_digest(open_context(folder, None).root, step(*sources, **more))


BEFORE: Tree = {"d/a": File("one"), "d/b": File("two"), "d/l": Link("a"), "other": File("x"), "p": Fifo()}


@pytest.mark.parametrize(
    "change",
    [
        {"d/a": File("One")},
        {"d/a": File("one", mode=0o755)},
        {"d/a": File("one", mode=0o4644)},
        {"d/l": Link("b")},
        {"d/c": File("")},
        {"d/c": Folder()},
        {"d/a": Link("b")},
        {"d/a": Fifo()},
    ],
)
def test_whatever_is_copied_changes_the_digest(tmp_path: Path, change: Tree) -> None:
    before = digest(make(tmp_path / "one", BEFORE), "d")
    tree = {**{name: node for name, node in BEFORE.items() if name not in change}, **change}
    assert digest(make(tmp_path / "two", tree), "d") != before


def test_what_is_not_copied_does_not_change_the_digest(tmp_path: Path) -> None:
    before = digest(make(tmp_path / "one", BEFORE), "d")
    after: Tree = {
        **BEFORE,
        "d/a": File("one", mtime=77, uid=os.getuid(), gid=os.getgid()),
        "other": File("y"),
        "p": File(),
    }
    assert digest(make(tmp_path / "two", after), "d") == before
    assert digest(tmp_path / "two", "d", excludes=("b",)) != before


def test_names_are_told_from_contents(tmp_path: Path) -> None:
    one = make(tmp_path / "one", {"ab": File("c"), "d": File("e")})
    two = make(tmp_path / "two", {"a": File("bc"), "d": File("e")})
    assert digest(one, "*") != digest(two, "*")
    assert digest(one, "ab", "d") != digest(one, "d", "ab")


def test_hard_links_are_told_from_copies(tmp_path: Path) -> None:
    one = make(tmp_path / "one", {"d/a": File("x"), "d/b": File("x")})
    two = make(tmp_path / "two", {"d/a": File("x")})
    os.link(two / "d/a", two / "d/b")
    assert digest(one, "d") != digest(two, "d")


def test_a_name_that_is_no_text_is_digested(tmp_path: Path) -> None:
    folder = make(tmp_path / "one", {"d": Folder()})
    (folder / "d" / os.fsdecode(b"\xff\xfe")).write_text("x")
    assert digest(folder, "d").startswith("sha256:")


# --- memory ----------------------------------------------------------------------------------------------------------


class Memory:
    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}
        self.saved = 0

    def save(self, known: dict[Any, Any]) -> None:
        self.kept, self.saved = known, self.saved + 1

    def digest(self, folder: Path) -> str:
        context = open_context(folder, None, load=lambda: dict(self.kept), save=self.save)
        return selection_digest(context.root, step("."))


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is ten seconds ahead: nothing is racy."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10_000_000_000)


@pytest.mark.usefixtures("aged")
def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, memory = make(tmp_path / "context", {"a": File("x"), "d/b": File("y")}), Memory()
    first = memory.digest(folder)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("a file was read"))
    assert memory.digest(folder) == first
    assert memory.saved == 1


@pytest.mark.usefixtures("aged")
def test_a_changed_file_is_read_again_though_its_time_and_size_are_as_before(tmp_path: Path) -> None:
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    first = memory.digest(folder)
    (folder / "a").write_text("y")
    os.utime(folder / "a", (1_000_000_000, 1_000_000_000))
    assert memory.digest(folder) != first


@pytest.mark.usefixtures("aged")
def test_a_capability_alone_is_a_change(tmp_path: Path, require_root: Callable[[], None]) -> None:
    require_root()
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    first = memory.digest(folder)
    os.setxattr(folder / "a", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    assert memory.digest(folder) != first


@pytest.mark.usefixtures("aged")
def test_an_attribute_that_is_not_copied_is_none(tmp_path: Path) -> None:
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    first = memory.digest(folder)
    os.setxattr(folder / "a", "user.test", b"1")
    assert memory.digest(folder) == first


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    memory.digest(folder)
    assert memory.kept == {}


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize("rubbish", [None, 5, (1, 2), ("a", "b", "c", "d"), (1, 2, 3, "text")])
def test_rubbish_in_the_memory_is_not_believed(tmp_path: Path, rubbish: object) -> None:
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    first = memory.digest(folder)
    memory.kept = dict.fromkeys(memory.kept, rubbish)
    assert memory.digest(folder) == first


@pytest.mark.usefixtures("aged")
def test_what_is_long_gone_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "_SPARE", 10)
    folder, memory = make(tmp_path / "context", {"a": File("x")}), Memory()
    memory.kept = {(0, number): (0, 0, 0, b"") for number in range(100)}
    memory.digest(folder)
    assert len(memory.kept) == 1
