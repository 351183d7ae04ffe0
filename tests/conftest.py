"""The worlds that tests live in. Each is asked for by name, and ends with its test, its module or the run."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from worlds.bases import busybox_layout, debian_layout
from worlds.command import Pybuild, installed_for
from worlds.docker import DockerDaemon, docker_programs, running_docker
from worlds.foreign import Foreign, both_busyboxes, foreign_busybox_layout, foreign_debian_layout
from worlds.foreign import foreign as find_foreign
from worlds.people import Person, has_subordinate_ids, whoever_runs_this
from worlds.people import ordinary_user as find_ordinary_user
from worlds.processes import remove_tree
from worlds.registry import Registry, running_registry


def pytest_configure() -> None:
    """Whoever starts the tests in a shell's background has Ctrl-C ignored, and so would all that they start.

    source   sh(1p), 2.11, "Signals and Error Handling"
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def unavailable(reason: str) -> NoReturn:
    """Skip with *reason*; where CI is set everything can be installed, so that a skip would hide something: fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; with CI=true nothing is skipped: scripts/setup --tests installs it", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """``require("skopeo", "umoci")``: the test needs these programs."""

    def check(*programs: str) -> None:
        missing = [program for program in programs if shutil.which(program) is None]
        if missing:
            unavailable(f"not installed: {', '.join(missing)}")

    return check


@pytest.fixture(scope="session")
def require_root() -> Callable[[], None]:
    """``require_root()``: the test needs to be root (mounts, daemons, or becoming another user)."""

    def check() -> None:
        if os.geteuid() != 0:
            unavailable("not root")

    return check


# --- places ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def workroom() -> Iterator[Path]:
    """A folder for this run that everybody may enter (pytest's own is closed to the ordinary user) and on a disk."""
    folder = Path(tempfile.mkdtemp(prefix="pybuild-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    folder.chmod(0o755)
    yield folder
    remove_tree(folder)


@pytest.fixture
def room(workroom: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder for one test, the ordinary user's; gone afterwards, whoever owns what is in it."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:40]
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=workroom))
    folder.chmod(0o755)
    owner = find_ordinary_user()
    if owner is not None:
        owner.owns(folder)
    yield folder
    remove_tree(folder)


@pytest.fixture
def store(room: Path) -> Path:
    """Where the store of one test will be; nothing is there yet."""
    return room / "store"


# --- people ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ordinary_user() -> Person:
    """A user without privileges but with subordinate ids, who can be run as."""
    person = find_ordinary_user()
    if person is None:
        unavailable("there is no user pybuild-test to run as")
    if not has_subordinate_ids(person):
        unavailable(f"{person.name} has no subordinate ids in /etc/subuid and /etc/subgid")
    return person


@pytest.fixture(scope="session")
def _launch(workroom: Path) -> Callable[[Person, Path], Pybuild]:
    def make(person: Person, store: Path) -> Pybuild:
        launch, environment = installed_for(person, workroom)
        return Pybuild(person=person, store=store, launch=launch, environment=environment)

    return make


@pytest.fixture
def pybuild(_launch: Callable[[Person, Path], Pybuild], store: Path) -> Pybuild:
    """The command line as whoever runs the tests, with the store of this test."""
    return _launch(whoever_runs_this(), store)


@pytest.fixture
def pybuild_rootless(_launch: Callable[[Person, Path], Pybuild], ordinary_user: Person, store: Path) -> Pybuild:
    """The command line as the ordinary user, with the store of this test."""
    return _launch(ordinary_user, store)


@pytest.fixture(params=["root", "ordinary user"])
def pybuild_everyone(request: pytest.FixtureRequest) -> Pybuild:
    """The command line as root, and then as the ordinary user: the test runs twice."""
    if request.param == "root":
        if os.geteuid() != 0:
            unavailable("not root")
        return request.getfixturevalue("pybuild")  # type: ignore[no-any-return]  # pytest does not know its type
    return request.getfixturevalue("pybuild_rootless")  # type: ignore[no-any-return]  # likewise


@pytest.fixture(scope="module")
def pybuild_rootless_module(
    _launch: Callable[[Person, Path], Pybuild], ordinary_user: Person, workroom: Path
) -> Iterator[Pybuild]:
    """The command line as the ordinary user, with one store for the whole module: bases are pulled once."""
    folder = Path(tempfile.mkdtemp(prefix="module-", dir=workroom))
    folder.chmod(0o755)
    ordinary_user.owns(folder)
    yield _launch(ordinary_user, folder / "store")
    remove_tree(folder)


# --- daemons --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def registry(require: Callable[..., None], workroom: Path) -> Iterator[Registry]:
    """An empty registry on a loopback port: plain HTTP, no log-in."""
    require("docker-registry", "skopeo")
    folder = workroom / "registry"
    folder.mkdir()
    with running_registry(folder) as found:
        yield found


@pytest.fixture(scope="session")
def docker_daemon(require_root: Callable[[], None], workroom: Path) -> Iterator[DockerDaemon]:
    """A Docker daemon of our own, to load and run what was built; empty when the run begins."""
    require_root()
    if docker_programs() is None:
        unavailable("not installed: dockerd and docker")
    folder = workroom / "docker"
    folder.mkdir()
    with running_docker(folder) as found:
        yield found


# --- base images ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def debian_base(require: Callable[..., None], registry: Registry) -> str:
    """A reference that can be pulled: this machine's Debian with apt, its mirror and its certificates."""
    require("mmdebstrap", "skopeo")
    return registry.push(debian_layout(), "debian:stable")


@pytest.fixture(scope="session")
def busybox_base(require: Callable[..., None], registry: Registry) -> str:
    """A reference that can be pulled: a static busybox and its applets, two megabytes."""
    require("busybox", "skopeo")
    return registry.push(busybox_layout(), "busybox:stable")


@pytest.fixture(scope="session")
def busybox_oci(require: Callable[..., None], workroom: Path) -> Path:
    """The same base as an OCI layout that everybody can read, for ``--build-context``; tests leave it as it is."""
    require("busybox")
    return Path(shutil.copytree(busybox_layout(), workroom / "busybox-oci"))


@pytest.fixture(scope="session")
def foreign(require: Callable[..., None]) -> Foreign:
    """A platform that this machine does not have, but an emulator for it."""
    found = find_foreign()
    if shutil.which(f"qemu-{found.machine}") is None:  # since Debian 13 it is the static one
        require(f"qemu-{found.machine}-static")
    return found


@pytest.fixture(scope="session")
def foreign_busybox(require: Callable[..., None], workroom: Path) -> Path:
    """``busybox_oci`` for the other platform; without an emulator it is as good to be built on."""
    require("busybox", "mmdebstrap")
    return Path(shutil.copytree(foreign_busybox_layout(), workroom / "foreign-busybox"))


@pytest.fixture(scope="session")
def foreign_debian(require: Callable[..., None], workroom: Path) -> Path:
    """An OCI layout with a Debian of the other platform, with apt."""
    require("mmdebstrap")
    return Path(shutil.copytree(foreign_debian_layout(), workroom / "foreign-debian"))


@pytest.fixture(scope="session")
def both_busyboxes_oci(require: Callable[..., None], workroom: Path) -> Path:
    """An OCI layout whose one image is an index: this platform's busybox, and the other's."""
    require("busybox", "mmdebstrap")
    return both_busyboxes(workroom / "both-busyboxes")
