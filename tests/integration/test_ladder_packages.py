"""Packages with users of their own, a compiled program and capabilities give on every rung what root makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.comparing import Contents, differences
from worlds.docker import DockerDaemon
from worlds.ladder import PACKAGES, ROOT, RUNGS, USERS, Case, Rung, bench_of, matrix
from worlds.people import Person

Climb = Callable[[Case, Rung], Contents]


@pytest.mark.parametrize(("rung", "case"), matrix(PACKAGES), ids=str)
def test_packages_are_installed_as_root_does_on_every_rung(case: Case, rung: Rung, climb: Climb) -> None:
    found = differences(climb(case, ROOT), climb(case, rung))
    assert not found, "\n".join(found)


def test_a_daemon_runs_what_root_made_and_what_one_id_made_alike(
    docker_daemon: DockerDaemon,
    ordinary_user: Person,
    ladder_bases: Mapping[str, Path],
    quick_room: Path,
    workroom: Path,
) -> None:
    said = []
    for rung in (ROOT, RUNGS[-1]):
        bench = replace(bench_of(rung, ordinary_user, quick_room, workroom), base=ladder_bases["debian"])
        bench.write(USERS.dockerfile, USERS.files)
        archive = bench.room / "image.tar"
        bench.build(output=f"type=docker,dest={archive},name=ladder-{rung}")
        image = docker_daemon.load(archive)
        archive.unlink()
        command = (
            "id; cat ~/told; find / -xdev ! -user root -exec stat -c '%n %F %u:%g %a' {} + 2>&1 | sort; chage -l joe"
        )
        said.append(docker_daemon.run(image, "sh", "-c", command))
    assert said[1] == said[0]
    assert "uid=1234(joe) gid=4000(team)" in said[0]
    assert "/srv/far regular empty file 99999:88888 755" in said[0]
