"""Images go from a Docker daemon to the store and back, and both tell the same of them."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.docker import DockerDaemon

DOCKERFILE = """\
FROM images-base
RUN echo one > /one && chmod 4755 /one && head -c 100000 /dev/zero > /zeros
ENV A=b
RUN rm /one
LABEL org.example.note="hello there"
COPY file /file
EXPOSE 80
CMD ["sh", "-c", "cat /file"]
"""
FIELDS = ("Id", "RepoTags", "Created", "Author", "Architecture", "Os", "RootFS")
CONFIG_FIELDS = ("User", "Env", "Cmd", "Volumes", "WorkingDir", "Entrypoint", "Labels", "ExposedPorts")


@pytest.fixture
def saved(docker_daemon: DockerDaemon, pybuild: Pybuild, busybox_oci: Path, room: Path) -> Path:
    """A tar of docker save with two names of an image that Docker itself built."""
    base = room / "base.tar"
    context = ("--build-context", f"base=oci-layout://{busybox_oci}")
    builder = pybuild.with_store(room / "builder")  # the test's own store may be another person's
    output = f"type=docker,dest={base}"
    builder("build", *context, "-t", "images-base", "-o", output, "-", stdin="FROM base\n", check=True)
    docker_daemon.load(base)
    folder = room / "by-docker"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "file").write_text("from docker\n")
    docker_daemon.docker("build", "--network=none", "-t", "by-docker:1", folder, env={"DOCKER_BUILDKIT": "0"})
    docker_daemon.docker("tag", "by-docker:1", "localhost:5000/team/by-docker:two")
    archive = room / "saved.tar"
    docker_daemon.docker("save", "-o", archive, "by-docker:1", "localhost:5000/team/by-docker:two")
    archive.chmod(0o644)
    return archive


@pytest.mark.parametrize("how", ["file", "stdin", "gzip"])
def test_what_docker_saved_is_loaded_under_its_names(pybuild_rootless: Pybuild, saved: Path, how: str) -> None:
    data = saved.read_bytes()
    if how == "file":
        done = pybuild_rootless("load", "-i", saved, check=True)
    else:
        done = pybuild_rootless("load", stdin=data if how == "stdin" else gzip.compress(data), check=True)
    assert sorted(done.stdout.splitlines()) == [
        "Loaded image: by-docker:1",
        "Loaded image: localhost:5000/team/by-docker:two",
    ]
    assert pybuild_rootless("run", "--rm", "by-docker:1").stdout == "from docker\n"


def test_docker_and_pybuild_tell_the_same_of_an_image(
    pybuild: Pybuild, docker_daemon: DockerDaemon, saved: Path
) -> None:
    pybuild("load", "-i", saved, check=True)
    ours = json.loads(pybuild("inspect", "by-docker:1", check=True).stdout)[0]
    theirs = docker_daemon.inspect("by-docker:1")
    assert {name: ours[name] for name in FIELDS} == {name: theirs[name] for name in FIELDS}
    assert ours["Size"] == theirs["Size"]
    assert {name: ours["Config"].get(name) for name in CONFIG_FIELDS} == {
        name: theirs["Config"].get(name) for name in CONFIG_FIELDS
    }


def test_the_history_is_the_one_that_docker_shows(pybuild: Pybuild, docker_daemon: DockerDaemon, saved: Path) -> None:
    pybuild("load", "-i", saved, check=True)
    form = "{{.CreatedBy}}|{{.Size}}|{{.Comment}}"
    for words in (("--no-trunc",), (), ("--human=false",)):
        ours = pybuild("history", *words, "--format", form, "by-docker:1", check=True).stdout
        theirs = docker_daemon.docker("history", *words, "--format", form, "by-docker:1").stdout
        assert ours == theirs
    assert (
        pybuild("history", "-q", "by-docker:1").stdout.splitlines()[0]
        == docker_daemon.docker("history", "-q", "by-docker:1").stdout.splitlines()[0]
    )


def test_listings_are_those_of_docker(pybuild: Pybuild, docker_daemon: DockerDaemon, saved: Path) -> None:
    pybuild("load", "-i", saved, check=True)
    form = "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"
    for words in (("by-docker",), ("--no-trunc", "by-docker:1"), ("--filter=reference=*/team/by-docker",)):
        ours = pybuild("images", *words, "--format", form, check=True).stdout
        assert ours == docker_daemon.docker("images", *words, "--format", form).stdout
    table = pybuild("images", "by-docker", check=True).stdout.splitlines()
    theirs = docker_daemon.docker("images", "by-docker").stdout.splitlines()
    assert table[0].split() == theirs[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [len(line) - len(line.lstrip()) for line in table] == [0, 0]


def test_what_pybuild_saved_is_loaded_by_docker_with_the_same_id(
    pybuild: Pybuild, docker_daemon: DockerDaemon, saved: Path, room: Path
) -> None:
    pybuild("load", "-i", saved, check=True)
    pybuild("tag", "by-docker:1", "back:1", check=True)
    pybuild("tag", "by-docker:1", "back:2", check=True)
    archive = room / "back.tar"
    pybuild("save", "-o", archive, "back", check=True)
    docker_daemon.docker("load", "-i", archive)
    image_id = docker_daemon.inspect("by-docker:1")["Id"]
    assert docker_daemon.inspect("back:1")["Id"] == image_id
    assert sorted(docker_daemon.inspect("back:2")["RepoTags"]) == [
        "back:1",
        "back:2",
        "by-docker:1",
        "localhost:5000/team/by-docker:two",
    ]
    assert docker_daemon.run("back:2") == "from docker\n"


def test_an_image_without_a_name_is_loaded_by_its_id(
    pybuild: Pybuild, docker_daemon: DockerDaemon, saved: Path, room: Path
) -> None:
    image_id = docker_daemon.inspect("by-docker:1")["Id"]
    archive = room / "unnamed.tar"
    docker_daemon.docker("save", "-o", archive, image_id)
    assert pybuild("load", "-i", archive, check=True).stdout == f"Loaded image ID: {image_id}\n"
    assert pybuild("images", "-q", "--no-trunc", "--filter", "dangling=true").stdout == f"{image_id}\n"


def test_a_committed_container_runs_in_docker_as_it_does_here(
    pybuild_rootless: Pybuild, docker_daemon: DockerDaemon, saved: Path, room: Path
) -> None:
    pybuild_rootless("load", "-i", saved, check=True)
    script = "echo 2 > /two; chown 7:8 /two; rm /file; mkdir -p /deep/er"
    pybuild_rootless("run", "--name", "once", "-e", "SET=1", "by-docker:1", "sh", "-c", script, check=True)
    words = ("-a", "me", "-m", "note", "-c", 'CMD ["sh", "-c", "id"]')
    pybuild_rootless("commit", *words, "once", "committed", check=True)
    archive = room / "committed.tar"
    pybuild_rootless("save", "-o", archive, "committed", check=True)
    docker_daemon.docker("load", "-i", archive)
    listing = docker_daemon.run("committed", "sh", "-c", "stat -c '%n %u %g' /two /deep/er; ls /file; echo $SET $A")
    assert listing == "/two 7 8\n/deep/er 0 0\n1 b\n"
    assert docker_daemon.run("committed").startswith("uid=0(root)")
    told = docker_daemon.inspect("committed")
    assert (told["Author"], told["Comment"]) == ("me", "note")


@pytest.mark.parametrize("form", ["oci-archive", "oci", "docker-archive"])
def test_what_skopeo_wrote_is_loaded(
    pybuild_rootless: Pybuild, require: Callable[..., None], busybox_oci: Path, room: Path, form: str
) -> None:
    require("skopeo")
    dest = room / "image"
    copy = ["skopeo", "copy", f"oci:{busybox_oci}", f"{form}:{dest}:example.com/busy:1"]
    subprocess.run(copy, check=True, capture_output=True)
    for path in (dest, *dest.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert pybuild_rootless("load", "-i", dest, check=True).stdout == "Loaded image: example.com/busy:1\n"
    assert pybuild_rootless("run", "--rm", "example.com/busy:1", "echo", "hello").stdout == "hello\n"
