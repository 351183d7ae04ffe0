"""What sources select, without a file system: patterns, folders, links, --exclude and --parents."""

from __future__ import annotations

from typing import Any

import pytest
from copies import HERE, Imagined, step
from trees import File, Folder, Link, Tree

from builder.engine.copying.select import below, matches, sources
from builder.engine.sources.source import TooManyLinks, join, resolve
from builder.errors import ContextError, DockerfileError


def selected(tree: Tree, *patterns: str, **more: Any) -> list[str]:
    """What is copied, relative to the destination; folders with a final slash, late ones with two."""
    root = Imagined(tree)
    found: list[str] = []
    for source in sources(step(*patterns, **more)):
        for match in matches(root, source, HERE):
            if not match.is_folder:
                found.append(match.name)
            for picked in below(root, match, source, HERE):
                kind = picked.status.st_mode & 0o170000 == 0o040000
                found.append(join(picked.inner, picked.name) + "/" * (kind + picked.late))
    return found


PROJECT: Tree = {
    "a.txt": File("a"),
    "b.md": File("b"),
    ".hidden": File(),
    "src/x.py": File(),
    "src/deep/y.py": File(),
    "src/deep/z.txt": File(),
    "docs/index.md": File(),
    "empty": Folder(),
    "link": Link("src/deep"),
    "file-link": Link("/a.txt"),
}


def test_a_file_is_itself() -> None:
    assert selected(PROJECT, "a.txt", "/b.md", "../../a.txt") == ["a.txt", "b.md", "a.txt"]


def test_a_folder_gives_what_is_in_it() -> None:
    assert selected(PROJECT, "src") == ["deep/", "deep/y.py", "deep/z.txt", "x.py"]
    assert selected(PROJECT, "src/") == selected(PROJECT, "./src/.")


def test_the_whole_root_gives_everything() -> None:
    everything = selected(PROJECT, ".")
    assert ".hidden" in everything
    assert "empty/" in everything
    assert "src/deep/y.py" in everything
    assert selected(PROJECT, "/") == everything


def test_a_star_takes_one_level_and_dotfiles() -> None:
    assert selected(PROJECT, "*") == [
        ".hidden",
        "a.txt",
        "b.md",
        "index.md",
        "file-link",
        "y.py",
        "z.txt",
        "deep/",
        "deep/y.py",
        "deep/z.txt",
        "x.py",
    ]
    assert selected(PROJECT, "*/*.md") == ["index.md"]


def test_a_pattern_without_a_match_selects_nothing() -> None:
    assert selected(PROJECT, "*.nothing", "src/*.nothing") == []


def test_only_folders_that_may_hold_a_match_are_looked_into() -> None:
    root = Imagined(PROJECT)
    (source,) = sources(step("src/d*/*.py"))
    assert [match.path for match in matches(root, source, HERE)] == ["src/deep/y.py"]
    assert root.looked_into == ["src", "src/deep"]


def test_links_on_the_way_and_at_the_end_are_followed() -> None:
    assert selected(PROJECT, "link") == ["y.py", "z.txt"]
    assert selected(PROJECT, "link/y.py") == ["y.py"]
    assert selected(PROJECT, "link/*.txt") == ["z.txt"]


def test_a_followed_link_keeps_its_name() -> None:
    assert selected(PROJECT, "file-link") == ["file-link"]
    assert selected(PROJECT, "file-l*") == ["file-link"]


def test_a_link_is_never_followed_out_of_the_root() -> None:
    root = Imagined({"up": Link("../../../a.txt"), "abs": Link("/up"), "a.txt": File()})
    assert resolve(root, "abs") == "a.txt"


def test_a_loop_of_links_ends() -> None:
    root = Imagined({"a": Link("b"), "b": Link("a")})
    with pytest.raises(TooManyLinks):
        resolve(root, "a")
    with pytest.raises(ContextError) as error:
        selected({"a": Link("b"), "b": Link("a")}, "a")
    assert (error.value.message, error.value.code) == ('"/a": too many links', "link-loop")


def test_a_missing_source_is_named_as_it_was_written() -> None:
    with pytest.raises(ContextError) as error:
        selected(PROJECT, "./gone.txt")
    assert error.value.message == '"/gone.txt": not found'
    assert error.value.code == "source-not-found"
    assert error.value.where is HERE


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("a.tx", 'did you mean "/a.txt"?'),
        ("SRC/x.py", 'did you mean "/src"?'),
        ("src/deep/yy.py", 'did you mean "/src/deep/y.py"?'),
        ("something-else-entirely", None),
    ],
)
def test_a_missing_source_has_the_nearest_name_as_its_hint(written: str, hint: str | None) -> None:
    with pytest.raises(ContextError) as error:
        selected(PROJECT, written)
    assert error.value.hint == hint


def test_a_folder_before_a_wildcard_must_exist() -> None:
    with pytest.raises(ContextError) as error:
        selected(PROJECT, "gone/*.txt")
    assert error.value.message == '"/gone": not found'


def test_a_malformed_pattern_is_the_authors_mistake() -> None:
    with pytest.raises(DockerfileError) as error:
        selected(PROJECT, "a[")
    assert (error.value.message, error.value.code) == ("syntax error in pattern 'a['", "bad-pattern")


def test_excludes_are_relative_to_each_source() -> None:
    assert selected(PROJECT, "src", excludes=("*.py",)) == ["deep/", "deep/y.py", "deep/z.txt"]
    assert selected(PROJECT, "src", excludes=("**/*.py",)) == ["deep/", "deep/z.txt"]
    assert selected(PROJECT, "src", excludes=("deep",)) == ["x.py"]


def test_excludes_are_not_for_the_source_itself() -> None:
    assert selected(PROJECT, "*.txt", excludes=("*.txt",)) == ["a.txt"]


def test_what_an_exception_takes_back_brings_its_folder() -> None:
    assert selected(PROJECT, "src", excludes=("deep", "!deep/z.txt")) == ["deep//", "deep/z.txt", "x.py"]
    assert selected(PROJECT, "src", excludes=("*", "!nothing")) == []


def test_parents_keeps_the_path_of_a_file() -> None:
    assert selected(PROJECT, "src/deep/y.py", parents=True) == ["src//", "src/deep//", "src/deep/y.py"]


def test_parents_takes_a_folder_with_all_that_is_in_it() -> None:
    assert selected(PROJECT, "src/deep/", parents=True) == ["src//", "src/deep/", "src/deep/y.py", "src/deep/z.txt"]


def test_parents_has_a_double_star() -> None:
    assert selected(PROJECT, "**/*.py", parents=True) == ["src//", "src/deep//", "src/deep/y.py", "src/x.py"]


def test_only_what_is_behind_the_pivot_is_kept() -> None:
    assert selected(PROJECT, "src/./deep/y.py", parents=True) == ["deep//", "deep/y.py"]
    assert selected(PROJECT, "s*/./deep/*.txt", parents=True) == ["deep//", "deep/z.txt"]


def test_parents_and_excludes_go_together() -> None:
    assert selected(PROJECT, "src", parents=True, excludes=("**/*.txt",)) == [
        "src/",
        "src/deep/",
        "src/deep/y.py",
        "src/x.py",
    ]


@pytest.mark.parametrize(
    ("written", "missing"),
    [("gone.txt", "/gone.txt"), ("src/./gone", "/src/gone"), (".", "/"), ("link/y.py", "/link/y.py")],
)
def test_parents_without_wildcards_must_take_something(written: str, missing: str) -> None:
    with pytest.raises(ContextError) as error:
        selected(PROJECT, written, parents=True)
    assert error.value.message == f'"{missing}": not found'


def test_parents_with_wildcards_may_take_nothing() -> None:
    assert selected(PROJECT, "*.nothing", "src/./*.nothing", parents=True) == []


def test_folders_without_a_match_are_not_walked() -> None:
    root = Imagined(PROJECT)
    (source,) = sources(step("src/*.py", parents=True))
    (match,) = matches(root, source, HERE)
    assert [picked.name for picked in below(root, match, source, HERE)] == ["src", "x.py"]
    assert root.looked_into == ["", "src"]


def test_files_beside_the_folders_of_a_pivot_are_no_sources() -> None:
    assert selected(PROJECT, "*/./deep", parents=True) == ["deep/", "deep/y.py", "deep/z.txt"]
