"""Three hundred builds whose right answers were recorded from BuildKit: README.md beside this file.

The harness runs once for each person, over the cases that were asked for; a test then looks at one case's result.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from worlds.command import installed_for
from worlds.people import Person, whoever_runs_this

HERE = Path(__file__).parent
CASES = sorted(path.relative_to(HERE / "cases").with_suffix("").as_posix() for path in HERE.glob("cases/*/*.toml"))


@dataclass
class Harness:
    """The harness, its base images, and what it found for each person."""

    folder: Path
    launcher: Callable[[Person], tuple[tuple[str, ...], dict[str, str]]]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def result(self, person: Person, wanted: list[str], name: str, isolation: str = "auto") -> dict[str, Any]:
        """The result of one case; the first to ask has all the *wanted* ones run."""
        key = f"{person.name}-{isolation}"
        if key not in self.results:
            self.results[key] = self._run(person, wanted, self.folder / key, isolation)
        return self.results[key][name]  # type: ignore[no-any-return]  # the harness's own JSON

    def _run(self, person: Person, wanted: list[str], place: Path, isolation: str) -> dict[str, Any]:
        launch, environment = self.launcher(person)
        place.mkdir()
        person.owns(place)
        (place / "tmp").mkdir()
        person.owns(place / "tmp")
        report = place / "tmp" / "report.json"
        # The harness's first word after the command is "build".
        command = place / "pybuild"
        command.write_text(f'#!/bin/sh\nshift\nexec {shlex.join(launch)} build --isolation={isolation} "$@"\n')
        command.chmod(0o755)
        done = person.run(
            [launch[0], self.folder / "conform.py", "run", "--bases", self.folder / "bases"]
            + ["--command", str(command), "--jobs", str(min(os.cpu_count() or 1, 4)), "--json", str(report)]
            + [word for name in wanted for word in ("--only", name)],
            env={"TMPDIR": str(place / "tmp"), "PYBUILD_ROOT": str(place / "store"), **environment},
            timeout=1200,
        )
        assert done.returncode in (0, 1), f"the harness broke:\n{done.stdout}{done.stderr}"
        return json.loads(report.read_text())["cases"]  # type: ignore[no-any-return]  # a table by case


@pytest.fixture(scope="session")
def harness(require: Callable[..., None], workroom: Path) -> Harness:
    """The harness where everybody can read it: the checkout may lie in somebody's closed home."""
    require("busybox", "zstd")
    folder = workroom / "conformance"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    whoever_runs_this().run([sys.executable, folder / "conform.py", "bases", folder / "bases"], check=True)
    return Harness(folder, lambda person: installed_for(person, workroom))


@pytest.fixture
def wanted(request: pytest.FixtureRequest) -> list[str]:
    """The cases that this test is run for."""
    items = (item for item in request.session.items if getattr(item, "function", None) is request.function)
    names = {item.callspec.params["case"] for item in items if hasattr(item, "callspec")}
    return [name for name in CASES if name in names]


BEYOND_THE_PROGRAM = {
    "layers/device-nodes": "fuse-overlayfs 1.14 makes devices without regard to the umask",
    "layers/long-paths": "fuse-overlayfs makes names of 251 bytes at most",
    "layers/special-mode-bits": "fuse-overlayfs lets no folder take over a group",
}


@pytest.mark.parametrize("case", CASES)
def test_root_gets_what_buildkit_makes(
    case: str, harness: Harness, wanted: list[str], require_root: Callable[[], None]
) -> None:
    require_root()
    result = harness.result(whoever_runs_this(), wanted, case)
    assert result["differences"] == []


@pytest.mark.parametrize("case", CASES)
def test_an_ordinary_user_gets_what_buildkit_makes(
    case: str, harness: Harness, wanted: list[str], ordinary_user: Person
) -> None:
    result = harness.result(ordinary_user, wanted, case)
    assert result["differences"] == []


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith(("layers/", "mounts/", "run/"))])
def test_fuse_overlayfs_makes_what_buildkit_makes(
    case: str, harness: Harness, wanted: list[str], require: Callable[..., None], require_root: Callable[[], None]
) -> None:
    require("fuse-overlayfs")
    require_root()  # it opens /dev/fuse
    if case in BEYOND_THE_PROGRAM:
        pytest.skip(BEYOND_THE_PROGRAM[case])
    result = harness.result(whoever_runs_this(), wanted, case, "fuse-overlayfs")
    assert result["differences"] == []
