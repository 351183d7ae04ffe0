"""``--load``: straight into a running daemon, and a clear word where there is none."""

from __future__ import annotations

from pathlib import Path

from worlds.command import Pybuild
from worlds.docker import DockerDaemon


def _context(room: Path) -> Path:
    folder = room / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text('FROM base\nRUN echo loaded >/said\nCMD ["cat", "/said"]\n')
    return folder


def test_an_image_is_loaded_into_the_daemon_that_docker_host_names(
    pybuild: Pybuild, docker_daemon: DockerDaemon, busybox_oci: Path, room: Path
) -> None:
    context = _context(room)
    words = ("build", "--build-context", f"base=oci-layout://{busybox_oci}", "--tag", "straight:in", "--load", context)
    done = pybuild(*words, env={"DOCKER_HOST": f"unix://{docker_daemon.socket}"}, check=True)
    assert done.stderr.endswith("loaded into the Docker daemon: straight:in\n")
    assert docker_daemon.run("straight:in") == "loaded\n"
    assert not list(room.glob("*.tar"))


def test_where_no_daemon_answers_one_line_says_so_and_what_to_do(
    pybuild: Pybuild, busybox_oci: Path, room: Path
) -> None:
    context = _context(room)
    nowhere = f"unix://{room}/docker.sock"
    words = ("build", "--build-context", f"base=oci-layout://{busybox_oci}", "--load", context)
    done = pybuild(*words, env={"DOCKER_HOST": nowhere})
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"error[no-daemon]: no Docker daemon answers at {nowhere}\n"
        "hint: write a tarball instead, with -o type=docker,dest=FILE, and load it elsewhere\n"
    )
