"""The table of owners of links and special files, after commands that rename, remove and make anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.layer.noted import TABLE, line, note, note_command, noted


class Draft:
    def __init__(self, folder: Path) -> None:
        self.folder, self.tree, self.written = folder, folder / "fs", folder / "command.owners"
        self.tree.mkdir()

    def link(self, name: str) -> int:
        (self.tree / name).symlink_to("x")
        return os.lstat(self.tree / name).st_ino

    def write(self, *lines: tuple[str, tuple[int, int], int]) -> None:
        with self.written.open("ab") as file:
            for name, owner, inode in lines:
                file.write(line(name.encode(), owner, inode))

    def told(self) -> dict[bytes, tuple[int, int]]:
        note_command(self.folder, self.tree, self.written)
        return noted(self.folder, self.tree)


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    return Draft(tmp_path)


def test_what_a_command_wrote_is_read_once(draft: Draft) -> None:
    draft.write(("l", (5, 6), draft.link("l")))
    assert draft.told() == {b"l": (5, 6)}
    assert not draft.written.exists()
    (draft.tree / "l").unlink()
    draft.link("l")
    note_command(draft.folder, draft.tree, draft.written)  # nothing was written: nothing is added
    assert (draft.folder / TABLE).read_bytes().count(b"\0") == 1


def test_nothing_written_is_nothing_noted(draft: Draft) -> None:
    assert draft.told() == {}
    assert not (draft.folder / TABLE).exists()


def test_the_last_line_of_a_path_holds(draft: Draft) -> None:
    inode = draft.link("l")
    draft.write(("l", (5, 6), inode), ("l", (0, 0), inode))
    assert draft.told() == {b"l": (0, 0)}


def test_all_names_of_an_inode_have_its_last_owner(draft: Draft) -> None:
    inode = draft.link("one")
    os.link(draft.tree / "one", draft.tree / "two", follow_symlinks=False)
    draft.write(("one", (5, 6), inode), ("two", (5, 6), inode), ("one", (7, 8), inode))
    assert draft.told() == {b"one": (7, 8), b"two": (7, 8)}


def test_an_inode_that_was_used_again_says_nothing_of_who_had_it(draft: Draft) -> None:
    inode = draft.link("new")
    draft.write(("old", (5, 6), inode), ("new", (0, 0), inode))
    assert draft.told() == {b"new": (0, 0)}


def test_a_copied_up_link_is_known_by_its_path(draft: Draft) -> None:
    draft.write(("l", (5, 6), draft.link("l") + 1))
    assert draft.told() == {b"l": (5, 6)}


def test_links_go_along_with_their_folder(draft: Draft) -> None:
    (draft.tree / "folder").mkdir()
    draft.write(("folder/l", (5, 6), draft.link("folder/l")))
    (draft.tree / "folder").rename(draft.tree / "moved")
    assert draft.told() == {b"moved/l": (5, 6)}


def test_so_do_those_of_a_tree_that_was_copied(draft: Draft) -> None:
    (draft.tree / "folder").mkdir()
    draft.link("folder/l")
    note(draft.folder, draft.tree, {b"folder/l": (5, 6)})
    (draft.tree / "folder").rename(draft.tree / "moved")
    assert draft.told() == {b"moved/l": (5, 6)}


def test_a_file_at_a_links_path_is_not_the_link(draft: Draft) -> None:
    draft.write(("l", (5, 6), draft.link("l")))
    (draft.tree / "l").unlink()
    (draft.tree / "l").write_text("")
    assert draft.told() == {}


def test_what_an_overlay_copied_up_keeps_its_owner(draft: Draft) -> None:
    draft.link("touched")
    draft.link("anew")
    own = os.geteuid(), os.getegid()
    draft.write(("anew", own, os.lstat(draft.tree / "anew").st_ino))
    owner = (own[0] if os.geteuid() == 0 else 5, own[1] if os.geteuid() == 0 else 6)
    held = ((b"touched", owner), (b"anew", (7, 8)), (b"elsewhere", (9, 9)))
    note_command(draft.folder, draft.tree, draft.written, held)
    assert noted(draft.folder, draft.tree) == {b"touched": owner, b"anew": own}
