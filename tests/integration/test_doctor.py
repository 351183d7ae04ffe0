"""``pybuild doctor`` on this machine, where builds are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from worlds.command import Pybuild
from worlds.people import Person


def test_it_finds_what_the_builds_here_take(pybuild_everyone: Pybuild) -> None:
    done = pybuild_everyone("doctor", "--json", check=True)
    found = json.loads(done.stdout)
    assert found["Able"]
    taken = [rung["Name"] for rung in found["Rungs"] if rung["Taken"]]
    assert len(taken) == 3
    assert taken[1] == "namespaces"
    assert taken[2] in ("overlay", "copy")
    assert found["FileSystem"] != "unknown"


def test_someone_without_sub_ids_builds_with_one_id_and_is_told_how_to_get_more(
    pybuild_rootless: Pybuild, room: Path, require_root: Callable[[], None]
) -> None:
    require_root()
    nobody = Person(name="nobody", uid=65534, gid=65534, home=room)
    store = room / "nobody"
    store.mkdir()
    nobody.owns(store)
    words = [*pybuild_rootless.launch, "--root", store, "doctor"]
    done = nobody.run(words, env=dict(pybuild_rootless.environment))
    assert done.returncode == 0
    assert "usermod --add-subuids" in done.stdout
    assert "single (taken)" in done.stdout
    assert done.stdout.endswith("Builds can be made here.\n")
