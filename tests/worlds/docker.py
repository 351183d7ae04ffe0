"""A real Docker daemon with roots of its own, beside whatever the machine runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worlds.processes import background, remove_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerDaemon:
    """A daemon and a client that talks to it. Containers have the host's network, or none."""

    client: str
    socket: Path

    def docker(
        self, *args: str | Path, env: dict[str, str] | None = None, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """What ``docker *args`` did; raises AssertionError with its output if *check* and it failed."""
        done = subprocess.run(
            [self.client, *map(str, args)],
            env=_client_environment(self.socket) | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            words = " ".join(map(str, args))
            raise AssertionError(f"docker {words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def load(self, archive: Path) -> str:
        """The name ("hello:latest"), or else the id, of the image that ``docker load`` read from *archive*."""
        out = self.docker("load", "--quiet", "--input", archive).stdout
        return out.strip().splitlines()[-1].split(": ", 1)[1]

    def run(self, image: str, *argv: str, options: Sequence[str] = (), network: str = "none") -> str:
        """What the container's process wrote to its standard output."""
        return self.docker("run", "--rm", "--network", network, *options, image, *argv).stdout

    @contextlib.contextmanager
    def running(self, image: str, *argv: str, options: Sequence[str] = (), network: str = "none") -> Iterator[str]:
        """The id of a container that runs in the background until the block ends."""
        started = self.docker("run", "--detach", "--network", network, *options, image, *argv)
        container = started.stdout.strip()
        try:
            yield container
        finally:
            self.docker("rm", "--force", "--volumes", container)

    def execute(self, container: str, *argv: str) -> str:
        """What *argv* wrote in a running container."""
        return self.docker("exec", container, *argv).stdout

    def inspect(self, image: str) -> dict[str, Any]:
        """What the daemon knows of *image*."""
        found: list[dict[str, Any]] = json.loads(self.docker("image", "inspect", image).stdout)
        return found[0]


def docker_programs() -> tuple[str, str] | None:
    """The daemon and a client, the distribution's own before any other; None if either is missing."""
    daemon = shutil.which("dockerd", path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}")
    client = shutil.which("docker", path=f"/usr/bin:{os.environ.get('PATH', '')}")
    return (daemon, client) if daemon and client else None


def daemon_command(folder: Path) -> list[str]:
    """A daemon whose every file lies in *folder*, and which leaves the machine's network as it is."""
    return [
        *(_programs()[0], "--host", f"unix://{folder}/docker.sock", "--pidfile", str(folder / "pid")),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
        *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]


def _programs() -> tuple[str, str]:
    programs = docker_programs()
    assert programs is not None, "dockerd and docker are not both in PATH"
    return programs


@contextlib.contextmanager
def running_docker(folder: Path, *, registries: Sequence[str] = ()) -> Iterator[DockerDaemon]:
    """A daemon whose every file lies in *folder*; *registries* may be talked to without TLS (loopback always may)."""
    socket = folder / "docker.sock"  # sun_path holds 107 bytes: keep the folder's name short, unix(7)
    argv = [*daemon_command(folder), *(f"--insecure-registry={name}" for name in registries)]
    client = _programs()[1]

    def ready() -> bool:
        asked = [client, "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(asked, env=_client_environment(socket), capture_output=True, check=False).returncode == 0

    try:
        with background(argv, log=folder / "log", ready=ready):
            yield DockerDaemon(client=client, socket=socket)
    finally:
        remove_tree(folder)  # it leaves its network namespace mounted in exec/netns


def _client_environment(socket: Path) -> dict[str, str]:
    ours = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return env | {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(socket.parent / "client")}
