"""``pybuild context ls``: what is in a context, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worlds.terminal import Recorded, surroundings

from builder.cli.main import main


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / ".dockerignore").write_text("b\n*.key\n!keep.key\nsub\n!sub/in\n")
    for name in ("a", "b", "keep.key", "x.key", "sub/in", "sub/out"):
        (folder / name).write_text("12345")
    return folder


def said(context: Path, *words: str) -> str:
    world = surroundings({"HOME": "/nonexistent", "PYBUILD_ROOT": str(context.parent / "store")})
    code = main(["context", "ls", *words, str(context)], world)
    assert isinstance(world.stdout, Recorded)
    assert isinstance(world.stderr, Recorded)
    assert (code, world.stderr.text) == (0, "")
    return world.stdout.text


def test_the_context_is_listed_without_what_is_ignored(context: Path) -> None:
    assert said(context) == (
        "SIZE   PATH\n30B    .dockerignore\n5B     a\n5B     keep.key\n       sub/\n5B     sub/in\n4 files, 45B\n"
    )


def test_what_is_left_out_is_listed_with_its_line(context: Path) -> None:
    assert said(context, "--ignored") == (
        "b: left out by .dockerignore:1: b\n"
        "x.key: left out by .dockerignore:2: *.key\n"
        "sub/out: left out by .dockerignore:4: sub\n"
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a", "a: in the context; no pattern excludes it"),
        ("./b", "b: left out by .dockerignore:1: b"),
        ("keep.key", "keep.key: in the context, taken back in by .dockerignore:3: !keep.key"),
        ("sub", "sub: left out by .dockerignore:4: sub, but for what a later line takes back in"),
        ("none.key", "none.key: left out by .dockerignore:2: *.key"),
        ("none", "none: nothing is there, and no pattern excludes it"),
    ],
)
def test_one_path_is_told_about(context: Path, path: str, reason: str) -> None:
    assert said(context, "--why", path) == reason + "\n"


def test_json_has_the_same(context: Path) -> None:
    assert json.loads(said(context, "--json", "--why=b")) == [
        {"Path": "b", "Included": False, "File": ".dockerignore", "Line": 1, "Pattern": "b"}
    ]
    assert json.loads(said(context, "--json"))[1] == {"Path": "a", "Type": "file", "Mode": "0644", "Size": 5}


def test_the_ignore_file_of_a_dockerfile_comes_first(context: Path) -> None:
    (context / "Containerfile.dockerignore").write_text("**\n!a\n")
    assert said(context, "-f", str(context / "Containerfile")) == "SIZE   PATH\n5B     a\n1 file, 5B\n"


def test_an_output_of_the_build_is_no_part_of_it(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "context.tar").write_text("the last image")
    monkeypatch.chdir(context)
    assert "context.tar" not in said(context)
