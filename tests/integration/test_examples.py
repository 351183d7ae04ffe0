"""Every example is built by an ordinary user, loaded into a real Docker daemon, and run there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.command import Pybuild, proxy_arguments
from worlds.docker import DockerDaemon

EXAMPLES = Path(__file__).parents[2] / "examples"

# What each example writes when it is run without arguments.
OUTPUTS = {
    "hello": "Hello, world, from an image with ",
    "figlet": r"| .__/ \__, |_.__/ \__,_|_|_|\__,_|",
    "cowsay": "< Built without a daemon >",
    "hello-c": "Hello from C: uid 0, alone in this image.\n",
    "node": "2 days are 172800000 milliseconds\n90 minutes are 5400000 milliseconds\n",
    "python-pip": "app counts 68,402 files\n",
}

Build = Callable[[str], str]


@pytest.fixture
def build(pybuild_rootless_module: Pybuild, docker_daemon: DockerDaemon, debian_base: str, room: Path) -> Build:
    """``build("figlet")``: the name of the example's image in the daemon.

    The Dockerfiles are used as they stand: the base that they name is what the registry of the tests has.
    """

    def make(name: str) -> str:
        context = room / name
        shutil.copytree(EXAMPLES / name, context)
        if name == "hello":
            shutil.copy("/bin/busybox", context)
        archive = room / f"{name}.tar"
        pybuild_rootless_module(
            *("build", "--tag", f"example-{name}", "--output", f"type=docker,dest={archive}"),
            *("--build-context", f"debian:stable-slim=docker-image://{debian_base}"),
            *proxy_arguments(),
            context,
            check=True,
            timeout=600,
        )
        return docker_daemon.load(archive)

    return make


def test_every_example_is_run_here() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/Dockerfile")} == {*OUTPUTS, "nginx"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_example_says_what_it_should(name: str, build: Build, docker_daemon: DockerDaemon) -> None:
    image = build(name)
    assert image == f"example-{name}:latest"
    assert OUTPUTS[name] in docker_daemon.run(image)


def test_figlet_takes_arguments_instead_of_its_command(build: Build, docker_daemon: DockerDaemon) -> None:
    # figlet's smallest letters: two lines high, so that the word can be read here
    written = docker_daemon.run(build("figlet"), "-f", "term", "Hello")
    assert written == "Hello\n"


def test_cowsay_is_found_through_a_symbolic_link(build: Build, docker_daemon: DockerDaemon) -> None:
    found = docker_daemon.run(build("cowsay"), "readlink", "/usr/local/bin/cowsay")
    assert found == "/usr/games/cowsay\n"


def test_the_c_program_is_all_that_its_image_holds(build: Build, docker_daemon: DockerDaemon) -> None:
    image = docker_daemon.inspect(build("hello-c"))
    assert len(image["RootFS"]["Layers"]) == 1
    assert image["Size"] < 2_000_000


def test_nginx_serves_the_page_and_no_draft(build: Build, docker_daemon: DockerDaemon) -> None:
    image = build("nginx")
    known = docker_daemon.inspect(image)["Config"]
    assert known["ExposedPorts"] == {"80/tcp": {}}
    assert known["StopSignal"] == "SIGQUIT"
    # Asked inside the container, so that no port of the machine is taken; bash speaks TCP.
    ask = 'exec 3<>/dev/tcp/127.0.0.1/80; printf "GET %s HTTP/1.0\\r\\n\\r\\n" "$0" >&3; cat <&3'
    with docker_daemon.running(image) as container:
        page = _retried(lambda: docker_daemon.execute(container, "bash", "-c", ask, "/"))
        draft = docker_daemon.execute(container, "bash", "-c", ask, "/plans.draft")
    assert page.startswith("HTTP/1.1 200 OK")
    assert (EXAMPLES / "nginx/site/index.html").read_text() in page
    assert draft.startswith("HTTP/1.1 404 Not Found")


def _retried(ask: Callable[[], str], *, times: int = 50) -> str:
    """The first answer; a server takes a moment to listen."""
    for _ in range(times - 1):
        try:
            return ask()
        except AssertionError:
            time.sleep(0.1)
    return ask()
