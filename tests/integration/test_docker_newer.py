"""Our images in a Docker of today, with either way that it keeps images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.docker import DockerDaemon
from worlds.newer_docker import running_newer_docker
from worlds.registry import Registry

DOCKERFILE = """\
FROM base
RUN mkdir /d && echo secret >/d/secret && chown 123:456 /d/secret && chmod 4750 /d/secret && ln /d/secret /d/hard
RUN echo gone >/d/gone
RUN rm /d/gone
LABEL org.example.title="A title"
ENV GREETING="hello there"
USER 7:8
CMD ["sh", "-c", "id -u; echo $GREETING; stat -c '%n %a %u:%g %h' /d/*"]
"""
SAID = "7\nhello there\n/d/hard 4750 123:456 2\n/d/secret 4750 123:456 2\n"


@pytest.fixture(scope="module", params=["graph drivers", "containerd's store"])
def newer_docker(
    request: pytest.FixtureRequest, require: Callable[..., None], require_root: Callable[[], None], workroom: Path
) -> Iterator[DockerDaemon]:
    require_root()
    require("mmdebstrap", "unshare", "docker")
    folder = workroom / f"docker-{len(request.param)}"
    folder.mkdir()
    with running_newer_docker(folder, containerd_store=request.param != "graph drivers") as daemon:
        yield daemon


@pytest.fixture
def base(busybox_oci: Path) -> tuple[str, ...]:
    return ("--build-context", f"base=oci-layout://{busybox_oci}")


def is_containerd(daemon: DockerDaemon) -> bool:
    return "io.containerd.snapshotter" in daemon.docker("info", "--format", "{{json .DriverStatus}}").stdout


@pytest.mark.parametrize("compression", ["uncompressed", "gzip", "zstd"])
def test_an_archive_is_loaded_and_runs_as_it_was_configured(
    pybuild_rootless: Pybuild, newer_docker: DockerDaemon, base: tuple[str, ...], room: Path, compression: str
) -> None:
    archive, facts = room / "image.tar", room / "facts"
    name = f"by-pybuild:{compression}"
    words = ("-t", name, "-o", f"type=docker,dest={archive},compression={compression}", "--metadata-file", facts, "-")
    pybuild_rootless("build", *base, *words, stdin=DOCKERFILE, check=True)
    assert newer_docker.load(archive) == name
    assert newer_docker.run(name) == SAID
    told, made = newer_docker.inspect(name), json.loads(facts.read_text())
    # containerd calls an image by its manifest, the graph drivers by its configuration.
    kind = "containerimage.digest" if is_containerd(newer_docker) else "containerimage.config.digest"
    assert told["Id"] == made[kind]
    assert told["Config"]["Labels"] == {"org.example.title": "A title"}
    assert told["RepoTags"] == [name]


def test_an_index_is_pulled_for_its_platform(
    pybuild_rootless: Pybuild,
    newer_docker: DockerDaemon,
    both_busyboxes_oci: Path,
    registry: Registry,
    room: Path,
) -> None:
    name = registry.reference("team/newer-both:1")
    context = ("--build-context", f"base=oci-layout://{both_busyboxes_oci}")
    (room / "file").write_text("copied\n")
    (room / "Dockerfile").write_text("FROM base\nCOPY file /file\n")
    output = f"type=registry,name={name},compression=zstd"
    platforms = "--platform=linux/amd64,linux/arm64"
    pybuild_rootless("build", *context, platforms, "-o", output, room, check=True)
    newer_docker.docker("pull", name)
    assert newer_docker.run(name, "cat", "/file") == "copied\n"
    (repo_digest,) = newer_docker.inspect(name)["RepoDigests"]
    pybuild_rootless("pull", name, check=True)
    shown = pybuild_rootless("images", "--digests", "--format", "{{.Digest}}", name).stdout
    assert repo_digest == f"{name.rpartition(':')[0]}@{shown.strip()}"


def test_what_it_saves_is_loaded_and_runs_here(
    pybuild_rootless: Pybuild, newer_docker: DockerDaemon, base: tuple[str, ...], room: Path
) -> None:
    archive, saved = room / "image.tar", room / "saved.tar"
    words = ("-t", "there-and-back", "-o", f"type=docker,dest={archive}", "-")
    pybuild_rootless("build", *base, *words, stdin=DOCKERFILE, check=True)
    newer_docker.load(archive)
    newer_docker.docker("save", "-o", saved, "there-and-back")
    saved.chmod(0o644)
    shutil.chown(saved, pybuild_rootless.person.uid)
    other = pybuild_rootless.with_store(room / "other")
    assert other("load", "-i", saved, check=True).stdout == "Loaded image: there-and-back:latest\n"
    assert other("run", "--rm", "there-and-back").stdout == SAID
