"""A bench to build on: for whoever runs the tests, for the ordinary user, or for both."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from worlds.bases import busybox_layout, debian_layout, runner_layout
from worlds.building import Bench
from worlds.command import Pybuild
from worlds.comparing import Contents, contents
from worlds.containers import Containers
from worlds.docker import DockerDaemon
from worlds.ladder import Case, Rung, bench_of
from worlds.people import Person
from worlds.processes import remove_tree
from worlds.registry import Registry

from native import syscalls

Climb = Callable[[Case, Rung], Contents]


@pytest.fixture
def bench(pybuild: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of whoever runs the tests."""
    return Bench(pybuild=pybuild, room=room, base=busybox_oci)


@pytest.fixture
def bench_rootless(pybuild_rootless: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of the ordinary user's."""
    return Bench(pybuild=pybuild_rootless, room=room, base=busybox_oci)


@pytest.fixture
def bench_everyone(pybuild_everyone: Pybuild, busybox_oci: Path, room: Path) -> Bench:
    """A bench of root's, and then one of the ordinary user's: the test runs twice."""
    return Bench(pybuild=pybuild_everyone, room=room, base=busybox_oci)


@pytest.fixture(scope="module")
def quick_room(require_root: Callable[[], None], workroom: Path) -> Iterator[Path]:
    """A folder in memory where the kernel lets files there have user attributes (Linux 6.6), else on the disk.

    A builder asks the disk for safety, and removing what is safe there takes longer than making it.
    """
    require_root()
    folder = Path(tempfile.mkdtemp(prefix="quick-", dir=workroom))
    syscalls.mount("tmpfs", folder, "tmpfs", 0, "mode=755")
    try:
        os.setxattr(folder, "user.probe", b"")
    except OSError:
        syscalls.umount(folder, 0)
        folder.chmod(0o755)
    yield folder
    remove_tree(folder)


@pytest.fixture(scope="module")
def ladder_bases(require: Callable[..., None], quick_room: Path) -> Mapping[str, Path]:
    """The layouts that the ladder's Dockerfiles begin with, where everybody can read them."""
    require("mmdebstrap", "busybox")
    bases = {"debian": debian_layout, "busybox": busybox_layout}
    return {name: Path(shutil.copytree(make(), quick_room / name)) for name, make in bases.items()}


@pytest.fixture(scope="module")
def climb(
    require: Callable[..., None],
    ordinary_user: Person,
    ladder_bases: Mapping[str, Path],
    quick_room: Path,
    workroom: Path,
) -> Climb:
    """``climb(case, rung)``: what is in the image; each is built once."""
    require("setpriv", "unshare", "gcc", "fuse-overlayfs")

    @cache
    def built(case: Case, rung: Rung) -> Contents:
        bench = replace(bench_of(rung, ordinary_user, quick_room, workroom), base=ladder_bases[case.base])
        try:
            note, image = case.build(bench)
            assert note == f"isolation: {rung.isolation}, identities: {rung.identities}"
            return contents(image)
        finally:
            remove_tree(bench.room)

    return built


@pytest.fixture(scope="session")
def containers(docker_daemon: DockerDaemon, registry: Registry, require: Callable[..., None]) -> Containers:
    """Containers of a real daemon, with Python, in which pybuild is started."""
    require("mmdebstrap", "skopeo")
    image = registry.push(runner_layout(), "runner:1")
    docker_daemon.docker("pull", "--quiet", image)
    return Containers(daemon=docker_daemon, image=image)
