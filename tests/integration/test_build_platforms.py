"""Several platforms: an index of images, each from the right base, and commands of machines that this one is not."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worlds.building import Bench, Built, leftovers
from worlds.command import proxy_arguments
from worlds.docker import DockerDaemon
from worlds.foreign import Foreign
from worlds.foreign import foreign as find_foreign

OTHER = find_foreign()
PLATFORMS = {OTHER.native: OTHER.here, OTHER.architecture: OTHER.platform}
BOTH = f"--platform={OTHER.here},{OTHER.platform}"

COPIES = """\
FROM base
ARG TARGETPLATFORM TARGETARCH BUILDPLATFORM BUILDARCH
COPY <<EOF /platforms
$TARGETPLATFORM $TARGETARCH $BUILDPLATFORM $BUILDARCH
EOF
"""

CROSS = """\
FROM --platform=$BUILDPLATFORM base AS build
ARG TARGETARCH
RUN uname -m >/built && echo "for $TARGETARCH" >>/built
FROM base
COPY --from=build /built /built
"""

COMMANDS = """\
FROM base
RUN uname -m >/machine && chown 12:34 /machine
RUN ["/bin/sh", "-c", "echo $0 $1 >/arguments", "zero", "one"]
RUN --mount=type=cache,target=/cache --network=none [ -d /cache ] && ! touch /proc/sys/kernel/hostname
"""


@pytest.fixture
def both(bench_everyone: Bench, both_busyboxes_oci: Path) -> Bench:
    """A bench whose base is an index of this platform and the other."""
    return replace(bench_everyone, base=both_busyboxes_oci)


@pytest.fixture
def other(bench_everyone: Bench, foreign_busybox: Path, foreign: Foreign) -> Bench:
    """A bench whose base is the other platform's alone."""
    return replace(bench_everyone, base=foreign_busybox)


def blob(layout: Path, descriptor: Mapping[str, Any]) -> bytes:
    return (layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()


def read(layout: Path, descriptor: Mapping[str, Any]) -> Any:
    return json.loads(blob(layout, descriptor))


def index_of(layout: Path) -> dict[str, Any]:
    """The index that the folder's one image is."""
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert top["mediaType"] == "application/vnd.oci.image.index.v1+json"
    found: dict[str, Any] = read(layout, top)
    return found


def member(layer: bytes, name: str) -> bytes:
    """One file of a layer that is packed as it comes."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def unpacked(source: str, architecture: str, bundle: Path) -> Path:
    """The root of one platform's image, as skopeo picks and umoci unpacks it."""
    folder = bundle.with_name(f"{bundle.name}-one")
    pick = ["skopeo", f"--override-arch={architecture}", "copy", "--quiet", source, f"oci:{folder}:latest"]
    subprocess.run(pick, check=True)
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    unpack = ["umoci", "unpack", *rootless, "--image", f"{folder}:latest", str(bundle)]
    subprocess.run(unpack, check=True, capture_output=True)
    return bundle / "rootfs"


def machine_of(program: bytes) -> int:
    """ELF's e_machine."""
    assert program[:4] == b"\x7fELF"
    return int(struct.unpack("<H", program[18:20])[0])


def handlers() -> list[str]:
    """The host's own table of emulators."""
    table = Path("/proc/sys/fs/binfmt_misc")
    return sorted(path.name for path in table.iterdir()) if table.is_dir() else []


def emulated(built: Built) -> list[str]:
    """What was said of emulators."""
    return [note["text"] for note in built.named("note") if note["text"].startswith("programs for")]


def test_two_platforms_make_an_index_of_two_images_each_of_its_own_base(
    both: Bench, require: Callable[..., None]
) -> None:
    require("skopeo", "umoci")
    both.write(COPIES)
    archive, layout = both.room / "both.tar", both.room / "both"
    outputs = ("-o", f"type=oci,dest={archive}", "-o", f"type=oci,dest={layout},tar=false")
    built = both.build(BOTH, "-t", "both:1", *outputs, output="")
    assert emulated(built) == []

    index = index_of(layout)
    assert [one["platform"] for one in index["manifests"]] == [
        {"architecture": OTHER.native, "os": "linux"},
        {"architecture": OTHER.architecture, "os": "linux"},
    ]
    for descriptor in index["manifests"]:
        config = read(layout, read(layout, descriptor)["config"])
        assert config["architecture"] == descriptor["platform"]["architecture"]
    programs = {}
    for architecture, platform in PLATFORMS.items():
        root = unpacked(f"oci-archive:{archive}:1", architecture, both.room / f"bundle-{architecture}")
        said = (root / "platforms").read_text()
        assert said == f"{platform} {architecture} {OTHER.here} {OTHER.native}\n"
        programs[architecture] = machine_of((root / "bin/busybox").read_bytes())
    assert programs == {OTHER.native: {"amd64": 62, "arm64": 183}[OTHER.native], OTHER.architecture: OTHER.number}


def test_the_store_keeps_the_index_and_gives_each_platform(both: Bench) -> None:
    both.write(COPIES)
    both.build(BOTH, "-t", "kept:1")
    for architecture, platform in PLATFORMS.items():
        done = both.pybuild("history", "--platform", platform, "kept:1", check=True)
        assert "COPY" in done.stdout, architecture
    again = both.build(BOTH, "-t", "kept:1")
    assert again.performed == []
    assert not again.entered


def test_each_platform_gets_a_folder_of_its_own(both: Bench) -> None:
    both.write(COPIES)
    out = both.room / "out"
    both.build(BOTH, "-o", out, output="")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        platform.replace("/", "_") for platform in PLATFORMS.values()
    )
    for architecture, platform in PLATFORMS.items():
        text = (out / platform.replace("/", "_") / "platforms").read_text()
        assert text.split()[:2] == [platform, architecture]


def test_one_tar_holds_each_platform_in_a_folder_of_its_own(both: Bench) -> None:
    both.write("FROM base\nCOPY --chown=5:6 file /a/file\nCOPY file /b/\n", {"file": "content\n"})
    archive = both.room / "roots.tar"
    both.build(BOTH, "-o", f"type=tar,dest={archive}", output="")
    with tarfile.open(archive) as tar:
        found = {one.name: one for one in tar}
        folders = sorted(platform.replace("/", "_") for platform in PLATFORMS.values())
        assert sorted(name for name in found if "/" not in name) == folders
        for folder in folders:
            assert (found[f"{folder}/a/file"].uid, found[f"{folder}/a/file"].gid) == (5, 6)
            program = tar.extractfile(f"{folder}/bin/busybox")
            assert program is not None
            expected = (
                OTHER.number if folder.endswith(OTHER.architecture) else {"amd64": 62, "arm64": 183}[OTHER.native]
            )
            assert machine_of(program.read(64)) == expected
    assert leftovers(both.store) == []
    # The roots are as they were.
    again = both.build(BOTH, "-o", f"type=tar,dest={archive}.again", output="")
    assert again.performed == []
    assert Path(f"{archive}.again").read_bytes() == archive.read_bytes()


def test_a_tarball_for_docker_load_holds_one_platform(both: Bench) -> None:
    both.write(COPIES)
    built = both.text(BOTH, "-o", "type=docker,dest=both.tar", output="")
    assert built.code == 2
    assert built.err == (
        "error[invalid-value]: --output type=docker cannot hold several platforms\nhint: use type=oci,dest=FILE\n"
    )
    assert not (both.room / "both.tar").exists()


def test_a_platform_that_the_base_does_not_have_is_told(both: Bench) -> None:
    both.write(COPIES)
    built = both.build("--platform=linux/s390x", check=False)
    assert built.code == 1
    assert built.error["message"] == "base has no image for linux/s390x"
    assert built.error["hint"] == f"it has: {OTHER.here}, {OTHER.platform}"


def test_a_cross_compilation_runs_on_the_machine_itself(both: Bench) -> None:
    both.write(CROSS)
    layout = both.room / "cross"
    built = both.build(BOTH, "-o", f"type=oci,dest={layout},tar=false", output="")
    assert emulated(built) == []
    assert not (both.store / "emulation").exists()
    said = [
        member(blob(layout, read(layout, descriptor)["layers"][-1]), "built").decode()
        for descriptor in index_of(layout)["manifests"]
    ]
    assert said == [f"{os.uname().machine}\nfor {architecture}\n" for architecture in PLATFORMS]


def test_commands_of_another_platform_are_emulated(other: Bench) -> None:
    other.write(COMMANDS)
    before = handlers()
    built, image = other.image(f"--platform={OTHER.platform}")
    (note,) = emulated(built)
    assert note.removesuffix("-static") == f"programs for {OTHER.architecture} are run by /usr/bin/qemu-{OTHER.machine}"
    assert image.config["architecture"] == OTHER.architecture
    assert image.files() == {"machine": f"{OTHER.machine}\n".encode(), "arguments": b"zero one\n"}
    owner = image.members(1)["machine"]
    assert (owner.uid, owner.gid) == (12, 34)
    # The emulator was registered for that build alone.
    assert handlers() == before

    again = other.build(f"--platform={OTHER.platform}")
    assert again.performed == []
    assert not again.entered


def test_both_platforms_run_their_own_commands_in_one_build(both: Bench, foreign: Foreign) -> None:
    both.write("FROM base\nRUN uname -m >/machine\n")
    out = both.room / "out"
    both.build(BOTH, "-o", out, output="")
    said = {path.name: (path / "machine").read_text().strip() for path in out.iterdir()}
    assert said == {
        OTHER.here.replace("/", "_"): os.uname().machine,
        OTHER.platform.replace("/", "_"): foreign.machine,
    }


def test_a_container_of_another_platform_is_emulated_too(other: Bench) -> None:
    other.write("FROM base\nUSER 77\n")
    other.build(f"--platform={OTHER.platform}", "-t", "other:1")
    words = ("run", "--rm", "--platform", OTHER.platform, "other:1")
    done = other.pybuild(*words, "sh", "-c", "uname -m; id -u; exit 3")
    assert (done.returncode, done.stdout) == (3, f"{OTHER.machine}\n77\n"), done.stderr


def test_root_has_the_same_trees_with_an_emulator_and_without(
    bench: Bench, both_busyboxes_oci: Path, foreign: Foreign, require_root: Callable[[], None]
) -> None:
    """One set of unpacked layers: what was built beside an emulated step is found by a build that has none."""
    require_root()
    bench = replace(bench, base=both_busyboxes_oci)
    bench.write("FROM base\nRUN echo 1 >/one\n")
    bench.build(f"--platform={OTHER.here},{foreign.platform}")
    bench.write("FROM base\nRUN echo 1 >/one\nRUN echo 2 >/two\n")
    alone = bench.build(f"--platform={OTHER.here}")
    assert alone.performed == ["RUN echo 2 >/two"]
    assert alone.named("note")[0]["text"].endswith("identities: root")


def test_without_a_user_namespace_only_the_host_s_emulators_are_there(
    bench: Bench, foreign_busybox: Path, foreign: Foreign, require_root: Callable[[], None]
) -> None:
    require_root()
    if any(name.startswith("qemu-") for name in handlers()):
        pytest.skip("the host emulates, so that nothing fails")
    bench = replace(bench, base=foreign_busybox)
    bench.write("FROM base\nRUN true\n")
    built = bench.build(f"--platform={foreign.platform}", "--userns=none", check=False)
    assert built.code == 1
    assert built.error["code"] == "emulator-failed"
    assert built.error["message"] == (
        f"commands for {OTHER.platform} cannot be run on this {OTHER.here} machine: "
        "without a user namespace no emulator can be registered for this build alone; "
        "the host runs none: exec format error"
    )
    assert built.error["hint"] == (
        "have the host's administrator register an emulator for them (package qemu-user-static or qemu-user-binfmt)"
    )
    assert "Dockerfile:2" in built.error["where"]


def test_a_base_of_another_platform_that_was_not_asked_for_is_named(
    bench_everyone: Bench, foreign_busybox: Path
) -> None:
    bench = replace(bench_everyone, base=foreign_busybox)
    bench.write("FROM base\nRUN true\n")
    built = bench.build(check=False)
    assert built.code == 1
    assert built.error["message"] == 'exec "/bin/sh": exec format error'
    assert built.error["hint"] == (
        f"it is a program for {OTHER.platform}, and this machine is {OTHER.here}: for a base of another platform say "
        f"--platform {OTHER.platform}, which wants the package qemu-user-static"
    )


def test_apt_installs_in_a_debian_of_another_platform_and_docker_loads_it(
    bench_rootless: Bench, foreign_debian: Path, foreign: Foreign, docker_daemon: DockerDaemon
) -> None:
    bench = replace(bench_rootless, base=foreign_debian)
    bench.write(
        "FROM base\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends hello && rm -r /var/lib/apt/lists\n"
        "RUN hello >/said && cp /usr/bin/id /id && chmod 4755 /id\n"
        "USER 1000\n"
        # A setuid program is one under the emulator, too.
        'RUN [ "$(/id -u)" = 0 ] && [ "$(id -u)" = 1000 ]\n'
    )
    archive, layout = bench.room / "image.tar", bench.room / "layout"
    outputs = ("-o", f"type=docker,dest={archive}", "-o", f"type=oci,dest={layout},tar=false")
    bench.build(f"--platform={foreign.platform}", "-t", "apt:1", *outputs, *proxy_arguments(), output="")

    (descriptor,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    installed = blob(layout, read(layout, descriptor)["layers"][1])
    assert machine_of(member(installed, "usr/bin/hello")) == OTHER.number
    docker_daemon.load(archive)
    image = docker_daemon.inspect("apt:1")
    assert (image["Os"], image["Architecture"]) == ("linux", OTHER.architecture)
