"""What a Docker daemon makes of our tarballs: names, configuration, and the files as they were built."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from worlds.command import Pybuild
from worlds.docker import DockerDaemon

DOCKERFILE = """\
FROM base
RUN mkdir -p /srv/data /srv/gone /srv/opaque && echo 1 >/srv/gone/file && echo 1 >/srv/opaque/old \\
 && echo secret >/srv/secret && chown 123:456 /srv/secret && chmod 4750 /srv/secret \\
 && ln /srv/secret /srv/hard && ln -s ../srv/secret /srv/soft && mkfifo /srv/fifo
RUN rm -r /srv/gone && rm -r /srv/opaque && mkdir /srv/opaque && echo 2 >/srv/opaque/new
COPY --chown=7:8 --chmod=640 file /srv/data/copied
ENV GREETING="hello there" EMPTY=
LABEL org.example.title="A title" org.example.lines="one\\ntwo"
EXPOSE 80 53/udp
VOLUME /srv/data
WORKDIR /srv
USER 123:456
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=2 CMD ["true"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -u; pwd; echo $GREETING"]
"""


@pytest.fixture
def context(room: Path) -> Path:
    """A context whose every kind of entry is to be found again in the daemon."""
    folder = room / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "file").write_text("copied\n")
    return folder


@pytest.fixture
def base(busybox_oci: Path) -> tuple[str, ...]:
    """The arguments that name the base."""
    return ("--build-context", f"base=oci-layout://{busybox_oci}")


def test_a_rootless_image_runs_as_it_was_configured(
    pybuild_rootless: Pybuild, docker_daemon: DockerDaemon, context: Path, base: tuple[str, ...], room: Path
) -> None:
    archive = room / "image.tar"
    tags = ("--tag", "configured:1", "--tag", "localhost:5000/team/configured:two")
    pybuild_rootless("build", *base, *tags, "-o", f"type=docker,dest={archive}", context, check=True)
    docker_daemon.load(archive)

    image = docker_daemon.inspect("configured:1")
    assert sorted(image["RepoTags"]) == ["configured:1", "localhost:5000/team/configured:two"]
    config = image["Config"]
    assert config["Env"][-2:] == ["GREETING=hello there", "EMPTY="]
    assert config["Labels"] == {"org.example.title": "A title", "org.example.lines": "one\\ntwo"}
    assert config["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert config["Volumes"] == {"/srv/data": {}}
    assert config["WorkingDir"] == "/srv"
    assert config["User"] == "123:456"
    assert config["StopSignal"] == "SIGUSR1"
    assert config["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "Retries": 2}
    assert docker_daemon.run("configured:1") == "123\n/srv\nhello there\n"


def test_owners_modes_links_and_deletions_are_those_of_the_build(
    pybuild_everyone: Pybuild, docker_daemon: DockerDaemon, context: Path, base: tuple[str, ...], room: Path
) -> None:
    archive = room / "image.tar"
    pybuild_everyone("build", *base, "--tag", "files", "-o", f"type=docker,dest={archive}", context, check=True)
    image = docker_daemon.load(archive)

    look = (
        "cd /srv; stat -c '%n %F %a %u:%g %h' secret hard soft fifo opaque/new data/copied;"
        "readlink soft; ls opaque; ls -d gone opaque/old"
    )
    done = docker_daemon.docker("run", "--rm", "--network=none", "--user=0:0", image, look, check=False)
    assert done.stdout.splitlines() == [
        "secret regular file 4750 123:456 2",
        "hard regular file 4750 123:456 2",
        "soft symbolic link 777 0:0 1",
        "fifo fifo 644 0:0 1",
        "opaque/new regular file 644 0:0 1",
        "data/copied regular file 640 7:8 1",
        "../srv/secret",
        "new",
    ]
    assert done.stderr.splitlines() == [
        "ls: gone: No such file or directory",
        "ls: opaque/old: No such file or directory",
    ]


def test_a_tarball_can_be_piped_into_docker_load(
    pybuild_rootless: Pybuild, docker_daemon: DockerDaemon, context: Path, base: tuple[str, ...], room: Path
) -> None:
    archive = room / "piped.tar"
    words = [*pybuild_rootless.launch, "build", *base, "-t", "piped", "-o", "type=docker,dest=-", str(context)]
    with archive.open("wb") as out:
        subprocess.run(
            words,
            env=pybuild_rootless.person.environment()
            | {"PYBUILD_ROOT": str(pybuild_rootless.store), **pybuild_rootless.environment},
            user=pybuild_rootless.person.uid,
            group=pybuild_rootless.person.gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=out,
            check=True,
            timeout=300,
        )
    assert docker_daemon.load(archive) == "piped:latest"


def test_an_image_without_a_tag_is_loaded_by_its_id(
    pybuild_rootless: Pybuild, docker_daemon: DockerDaemon, context: Path, base: tuple[str, ...], room: Path
) -> None:
    archive, iidfile = room / "image.tar", room / "id"
    output = ("-o", f"type=docker,dest={archive}", "--iidfile", iidfile)
    pybuild_rootless("build", *base, *output, context, check=True)
    loaded = docker_daemon.load(archive)
    # The id of an image in the daemon is the digest of its configuration.
    assert docker_daemon.inspect(loaded)["Id"] == loaded
    assert loaded.startswith("sha256:")


def test_the_tarball_is_written_beside_the_caller_when_nothing_else_is_asked(
    pybuild_rootless: Pybuild, docker_daemon: DockerDaemon, context: Path, base: tuple[str, ...], room: Path
) -> None:
    done = pybuild_rootless("build", *base, "--tag", "example.com/team/plain:3", context, cwd=room, check=True)
    assert "plain.tar" in done.stderr.splitlines()[-1]
    assert docker_daemon.load(room / "plain.tar") == "example.com/team/plain:3"


def test_a_second_build_of_the_same_context_gives_the_same_image(
    pybuild_rootless: Pybuild, context: Path, base: tuple[str, ...], room: Path
) -> None:
    digests = []
    for name in ("first", "second"):
        metadata = room / f"{name}.json"
        archive = ("-o", f"type=docker,dest={room / name}.tar", "--metadata-file", metadata)
        pybuild_rootless("build", *base, *archive, context, check=True)
        digests.append(json.loads(metadata.read_text())["containerimage.config.digest"])
    assert digests[0] == digests[1]
