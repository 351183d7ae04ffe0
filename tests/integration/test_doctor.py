"""``pybuild doctor`` on this machine, where builds are made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
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


def test_it_tries_whether_commands_of_the_other_platform_run(
    pybuild_everyone: Pybuild, require: Callable[..., None]
) -> None:
    other, emulator = {"x86_64": ("arm64", "aarch64"), "aarch64": ("amd64", "x86_64")}[os.uname().machine]
    require(f"qemu-{emulator}-static")
    rungs = json.loads(pybuild_everyone("doctor", "--json", check=True).stdout)["Rungs"]
    (found,) = [rung for rung in rungs if rung["Topic"] == "platforms"]
    assert (found["Name"], found["Works"]) == (f"linux/{other}", True)
    assert found["Detail"].startswith(f"programs for {other} are run by ")
    missing = pybuild_everyone("doctor", env={"PATH": "/nowhere"}, check=True).stdout
    assert f"  yes  linux/{other}: programs for {other} are run by" in missing  # system programs are found without PATH


def test_sub_ids_that_newuidmap_cannot_give_are_refused_by_trying(
    pybuild_rootless: Pybuild, require: Callable[..., None]
) -> None:
    require("setpriv")
    powerless = replace(pybuild_rootless, launch=("setpriv", "--no-new-privs", *pybuild_rootless.launch))
    told = powerless("doctor", check=True).stdout
    assert "  no   subid: newuidmap" in told
    assert "  yes  single (taken): a user namespace with one id\n" in told


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
