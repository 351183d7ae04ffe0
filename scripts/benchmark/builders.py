"""The builders: how each is given a store of its own, and what one types to build and to get a tarball."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worlds.docker import daemon_command, docker_programs
from worlds.processes import background, unmount_below

from benchmark.measure import Command, Group

IMAGE = "bench"
PEER_NAME = "skopeo"
"""skopeo, and umoci for what it cannot do: they build nothing, and take part in ``benchmark.transfers`` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One build: what to build, and whether anything is to be written."""

    context: Path
    tarball: Path | None
    cache: bool


class Builder(Protocol):
    """A builder with a store in a folder; the store begins empty with each ``open``."""

    name: str

    def version(self) -> str:
        """What it calls itself."""

    def open(self, folder: Path, group: Group) -> contextlib.AbstractContextManager[None]:
        """An empty store in *folder*, and a daemon where it needs one, until the block ends; not measured.

        What is in *folder* is left there: see ``benchmark.places``.
        """

    def commands(self, task: Task) -> list[Command]:
        """What one types for *task*; measured."""


def builders(top: Path) -> list[Builder]:
    """Those that this machine has, the one that all are compared with first."""
    known: list[Builder] = [Docker(), Pybuild(top), Buildah(), Podman(), Buildkit()]
    return [builder for builder in known if _there(builder)]


def _there(builder: Builder) -> bool:
    try:
        return bool(builder.version())
    except (OSError, subprocess.CalledProcessError):
        return False


class Docker:
    """Debian's daemon and its classic builder; ``docker build`` writes nothing, so a tarball is one more command."""

    name = "docker"

    def __init__(self) -> None:
        self._folder = Path()
        self._client = (docker_programs() or ("", "docker"))[1]

    def version(self) -> str:
        return _says(self._client, "--version") if docker_programs() and os.geteuid() == 0 else ""

    @contextlib.contextmanager
    def open(self, folder: Path, group: Group) -> Iterator[None]:
        self._folder = folder
        argv = daemon_command(folder)
        if group.path is not None:
            # The containers of its RUNs are counted too: cgroups are named from the root of the hierarchy.
            argv += ["--cgroup-parent", f"/{group.path.name}/containers"]

        def ready() -> bool:
            asked = [self._client, "version"]
            return subprocess.run(asked, env=self._environment(), capture_output=True, check=False).returncode == 0

        try:
            with background(group.enter(argv, "daemon"), log=folder / "log", ready=ready):
                yield
        finally:
            unmount_below(folder)

    def commands(self, task: Task) -> list[Command]:
        build = [self._client, "build", "--network=host", "--tag", IMAGE, *_no_cache(task), str(task.context)]
        save = [self._client, "save", "--output", str(task.tarball), IMAGE]
        return [Command(argv=tuple(argv), env=self._environment()) for argv in _both(task, build, save)]

    def _environment(self) -> dict[str, str]:
        return plain() | {
            "DOCKER_HOST": f"unix://{self._folder}/docker.sock",
            "DOCKER_CONFIG": str(self._folder / "client"),
            "DOCKER_BUILDKIT": "0",
        }


class Pybuild:
    """This checkout."""

    name = "pybuild"

    def __init__(self, top: Path) -> None:
        installed = top / ".venv" / "bin" / "python"
        python = str(installed) if installed.exists() else sys.executable
        self._argv = [python, "-P", "-m", "builder"]
        self._path = str(top)
        self._store = Path()

    def version(self) -> str:
        return _says(*self._argv, "--version", env={"PYTHONPATH": self._path})

    @contextlib.contextmanager
    def open(self, folder: Path, group: Group) -> Iterator[None]:  # it has no daemon to put there
        self._store = folder / "store"
        try:
            yield
        finally:
            unmount_below(folder)

    def commands(self, task: Task) -> list[Command]:
        output = f"type=docker,dest={task.tarball}" if task.tarball else "type=image"
        words = ["build", "--tag", IMAGE, "--output", output, *_no_cache(task), str(task.context)]
        return [self.typed(self._store, words)]

    def typed(self, store: Path, words: list[str]) -> Command:
        """``pybuild`` with *words* and this *store*."""
        env = plain() | {"PYBUILD_ROOT": str(store), "PYTHONPATH": self._path}
        return Command(argv=(*self._argv, *words), env=env)


class _Containers:
    """What buildah and podman have in common: they keep a store, have no daemon, and chroot where cgroups are odd."""

    name = ""

    def __init__(self) -> None:
        self._folder = Path()

    def version(self) -> str:
        return _says(self.name, "--version")

    @contextlib.contextmanager
    def open(self, folder: Path, group: Group) -> Iterator[None]:  # no daemon to put there either
        self._folder = folder
        try:
            yield
        finally:
            unmount_below(folder)

    def commands(self, task: Task) -> list[Command]:
        flags = ["--isolation=chroot", "--layers", "--tls-verify=false", "--network=host", *_no_cache(task)]
        build = [*self._global(), "build", *flags, "--tag", IMAGE, str(task.context)]
        save = [*self._global(), "push", "--quiet", f"localhost/{IMAGE}", f"docker-archive:{task.tarball}:{IMAGE}"]
        return [Command(argv=tuple(argv), env=plain()) for argv in _both(task, build, save)]

    def _global(self) -> list[str]:
        folder = self._folder
        places = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
        return [self.name, *places, "--storage-driver=overlay"]


class Buildah(_Containers):
    """buildah."""

    name = "buildah"


class Podman(_Containers):
    """podman, whose build is buildah's with a start of its own."""

    name = "podman"


class Buildkit:
    """buildkitd and buildctl, where somebody has put them in PATH."""

    name = "buildkit"

    def __init__(self) -> None:
        self._folder = Path()

    def version(self) -> str:
        return _says("buildctl", "--version") if shutil.which("buildkitd") else ""

    @contextlib.contextmanager
    def open(self, folder: Path, group: Group) -> Iterator[None]:
        self._folder = folder
        (folder / "buildkitd.toml").write_text("")
        argv = ["buildkitd", "--root", str(folder / "root"), "--addr", self._address()]
        argv += ["--config", str(folder / "buildkitd.toml")]

        def ready() -> bool:
            asked = ["buildctl", "--addr", self._address(), "debug", "workers"]
            return subprocess.run(asked, capture_output=True, check=False).returncode == 0

        try:
            with background(group.enter(argv, "daemon"), log=folder / "log", ready=ready):
                yield
        finally:
            unmount_below(folder)

    def commands(self, task: Task) -> list[Command]:
        argv = ["buildctl", "--addr", self._address(), "build", "--progress=plain", "--frontend=dockerfile.v0"]
        argv += [f"--local={kind}={task.context}" for kind in ("context", "dockerfile")] + _no_cache(task)
        output = f"type=docker,name={IMAGE},dest={task.tarball}" if task.tarball else f"type=image,name={IMAGE}"
        return [Command(argv=(*argv, f"--output={output}"), env=plain())]

    def _address(self) -> str:
        return f"unix://{self._folder}/buildkitd.sock"


def _both(task: Task, build: list[str], save: list[str]) -> list[list[str]]:
    return [build, save] if task.tarball else [build]


def _no_cache(task: Task) -> list[str]:
    return [] if task.cache else ["--no-cache"]


def plain() -> dict[str, str]:
    """Our environment without what would lead a builder to another store, daemon or cache."""
    ours = ("DOCKER_", "BUILDAH_", "BUILDKIT_", "PYBUILD_", "CONTAINER", "REGISTRY_", "STORAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _says(*argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, env=plain() | (env or {}), check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[0]
