"""What a build writes: every kind of output, as other programs read it, and the same bytes for the same build."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.building import Bench, Image, leftovers
from worlds.processes import remove_tree

DOCKERFILE = """\
FROM base
COPY --chown=3:4 file /data/
RUN echo made >/made && chown 1234:5678 /made && ln -s made /link && mkdir -m 1777 /sticky
CMD ["cat", "/data/file"]
"""


@pytest.fixture
def filled(bench_everyone: Bench) -> Bench:
    """A bench with a small Dockerfile."""
    bench_everyone.write(DOCKERFILE, {"file": "content\n"})
    return bench_everyone


def test_all_kinds_of_output_at_once(filled: Bench, require: Callable[..., None]) -> None:
    require("skopeo", "umoci")
    bench, out = filled, filled.room / "out"
    iid, metadata = out / "iid", out / "metadata.json"
    outputs = {
        "docker": out / "docker.tar",
        "oci": out / "deep/er/oci.tar",
        "layout": out / "layout",
        "tar": out / "root.tar",
        "local": out / "root",
    }
    out.mkdir()
    bench.pybuild.person.owns(out)
    built = bench.build(
        *("-t", "example.com/team/app:1", "-t", "app:two", "--metadata-file", metadata),
        *("-o", f"type=docker,dest={outputs['docker']}", "-o", f"type=oci,dest={outputs['oci']}"),
        *("-o", f"type=oci,dest={outputs['layout']},tar=false", "-o", f"type=tar,dest={outputs['tar']}"),
        *("-o", f"type=local,dest={outputs['local']}", "-o", "type=image", "-o", "type=cacheonly"),
        output="",
    )
    wrote = [(one["kind"], one["dest"]) for one in built.named("exported")]
    assert sorted(kind for kind, _ in wrote) == ["docker", "image", "local", "oci", "oci", "tar"]
    image = Image.of(outputs["layout"])
    config = image.manifest["config"]["digest"]

    # The same image in all of them.
    for reference in (
        f"docker-archive:{outputs['docker']}",
        f"oci-archive:{outputs['oci']}",
        f"oci:{outputs['layout']}",
    ):
        name = "" if reference.startswith("docker") else ":1"
        shown = _run("skopeo", "inspect", "--config", "--raw", f"{reference}{name}")
        assert json.loads(shown) == image.config
        assert f"sha256:{hashlib.sha256(shown).hexdigest()}" == config
    unpacked = out / "unpacked"
    _run(
        "umoci", "unpack", *([] if os.geteuid() == 0 else ["--rootless"]), "--image", f"{outputs['layout']}:1", unpacked
    )
    assert (unpacked / "rootfs/made").read_text() == "made\n"

    described = json.loads(metadata.read_text())
    assert described["containerimage.digest"] == image.digest
    assert described["containerimage.config.digest"] == config
    assert described["containerimage.descriptor"]["digest"] == image.digest
    assert described["image.name"] == "example.com/team/app:1,docker.io/library/app:two"

    with tarfile.open(outputs["tar"]) as tar:
        members = {member.name.removeprefix("./").rstrip("/"): member for member in tar}
    made = members["made"]
    assert (made.uid, made.gid, made.size) == (1234, 5678, 5)
    assert (members["data/file"].uid, members["data/file"].gid) == (3, 4)
    assert members["sticky"].mode == 0o1777
    assert members["link"].linkname == "made"
    assert (outputs["local"] / "data/file").read_text() == "content\n"
    assert os.readlink(outputs["local"] / "link") == "made"
    assert (outputs["local"] / "bin/busybox").exists()
    assert leftovers(bench.store) == []
    names = {"docker.tar", "deep", "layout", "root.tar", "root", "metadata.json", "unpacked"}
    assert {path.name for path in out.iterdir()} == names

    # Another time from the cache alone, and with an id.
    again = bench.build("--iidfile", iid, "-q", output=f"type=docker,dest={outputs['docker']}", json_events=False)
    assert again.out == f"{iid.read_text()}\n"
    assert again.err == ""


def _run(*words: str | Path) -> bytes:
    done = subprocess.run([str(word) for word in words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_what_goes_to_stdout_is_the_output_and_nothing_else(filled: Bench) -> None:
    bench = filled
    for kind, names in (("docker", {"manifest.json", "index.json"}), ("oci", {"index.json"}), ("tar", {"made"})):
        target = bench.room / f"{kind}.tar"
        with target.open("wb") as out:
            done = subprocess.run(
                [*bench.pybuild.launch, *bench.all_words("--progress=plain", output=f"type={kind},dest=-")],
                env=bench.pybuild.person.environment()
                | {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
                user=bench.pybuild.person.uid,
                group=bench.pybuild.person.gid,
                extra_groups=[],
                stdout=out,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        with tarfile.open(target) as tar:
            assert names <= {member.name for member in tar}
        assert b"to stdout" in done.stderr


def test_the_default_is_a_tarball_named_after_the_tag_or_the_context(filled: Bench) -> None:
    bench = filled
    done = bench.text(output="")
    assert done.err.splitlines()[-1].startswith("wrote ./context.tar (")
    assert done.err.splitlines()[-1].endswith(") — load it with: docker load -i context.tar")
    done = bench.text("-t", "example.com/team/tool:3", output="")
    assert done.err.splitlines()[-1].endswith("docker load -i tool.tar")
    assert {path.name for path in bench.room.glob("*.tar")} == {"context.tar", "tool.tar"}
    # The tarball of a build in its own context is no part of the next context.
    bench.write("FROM base\nCOPY . /all\n")
    first = bench.build(output="", cwd=bench.context, context=".", check=False)
    if first.code:  # the ordinary user may not write into root's folder
        assert first.error["code"] == "output-unwritable"
        bench.pybuild.person.owns(bench.context)
        bench.build(output="", cwd=bench.context, context=".")
    assert (bench.context / "context.tar").exists()
    assert bench.build(output="", cwd=bench.context, context=".").performed == []


# How each begins, and where.
COMPRESSIONS = {"gzip": (0, b"\x1f\x8b"), "zstd": (0, b"\x28\xb5\x2f\xfd"), "uncompressed": (257, b"ustar")}


def test_layers_are_compressed_as_wanted_and_a_bases_own_only_if_forced(filled: Bench) -> None:
    bench, layout = filled, filled.room / "layout"
    _, plain = bench.image()
    base = plain.manifest["layers"][0]
    for kind, (offset, magic) in COMPRESSIONS.items():
        for force in (False, True):
            words = f"type=oci,dest={layout},tar=false,compression={kind},force-compression={str(force).lower()}"
            bench.build("-o", words, "-t", f"x:{kind}{force}", output="")
            image = Image.of(layout, -1)
            suffix = "" if kind == "uncompressed" else f"+{kind}"
            for layer in image.own:
                assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar{suffix}"
                blob = layout / "blobs/sha256" / layer["digest"][7:]
                assert blob.read_bytes()[offset:].startswith(magic)
                assert blob.stat().st_size == layer["size"]
            assert (image.manifest["layers"][0] == base) is (not force or kind == "gzip")
            diff_ids = [f"sha256:{hashlib.sha256(image.layer(n)).hexdigest()}" for n in range(3)]
            assert image.config["rootfs"]["diff_ids"] == diff_ids == plain.config["rootfs"]["diff_ids"]
            assert image.config == plain.config
    sizes = []
    for level in (1, 9):
        bench.build("-o", f"type=oci,dest={layout},tar=false,compression=gzip,compression-level={level}", output="")
        sizes.append(Image.of(layout, -1).own[0]["size"])
    assert sizes[0] != sizes[1] or sizes[0] < 200


def test_the_same_build_gives_the_same_image(filled: Bench) -> None:
    bench = filled
    _, first = bench.image()
    _, second = bench.image()
    assert second.digest == first.digest
    # Of another store only if nothing depends on the clock.
    _, elsewhere = bench.with_store("another").image()
    assert elsewhere.digest != first.digest

    digests = set()
    for number, words in enumerate([["--reproducible"], ["--reproducible"], ["--reproducible", "--no-cache"]]):
        _, image = bench.with_store(f"fresh{number}").image(*words)
        digests.add(image.digest)
    assert len(digests) == 1
    newest = int((bench.context / "file").stat().st_mtime)
    newest = max(newest, int((bench.context / "Dockerfile").stat().st_mtime))
    assert max(member.mtime for member in image.members(2).values()) <= newest


def test_source_date_epoch_dates_the_image_and_rewrite_timestamp_its_files(filled: Bench) -> None:
    bench = filled
    epoch = {"SOURCE_DATE_EPOCH": "1000000000"}
    _, dated = bench.image(env=epoch)
    assert dated.config["created"] == "2001-09-09T01:46:40Z"
    assert {entry["created"] for entry in dated.config["history"]} == {"2001-09-09T01:46:40Z"}
    assert max(member.mtime for member in dated.members(2).values()) > 1_000_000_000
    _, same = bench.image("--build-arg", "SOURCE_DATE_EPOCH=1000000000")
    assert same.digest == dated.digest

    layout = bench.room / "rewritten"
    words = ("-o", f"type=oci,dest={layout},tar=false,rewrite-timestamp=true")
    rewritten = bench.build(*words, output="", env=epoch)
    assert rewritten.performed == []
    image = Image.of(layout)
    for number in (1, 2):
        assert max(member.mtime for member in image.members(number).values()) <= 1_000_000_000
    assert image.manifest["layers"][0] == dated.manifest["layers"][0]


def test_a_metadata_file_is_written_whatever_the_output_is(bench: Bench) -> None:
    bench.write(DOCKERFILE, {"file": "content\n"})
    metadata = bench.room / "metadata.json"
    for output in ("type=cacheonly", f"type=local,dest={bench.room}/root"):
        bench.build("--metadata-file", metadata, output=output)
        assert json.loads(metadata.read_text()) == {}
        metadata.unlink()
    bench.build("--metadata-file", metadata)
    assert json.loads(metadata.read_text())["containerimage.digest"].startswith("sha256:")


def test_podman_reads_both_kinds_of_archive(bench: Bench, require: Callable[..., None]) -> None:
    require("podman")
    bench.write(DOCKERFILE, {"file": "content\n"})
    bench.build("-t", "localhost/podman:1", "-o", f"type=docker,dest={bench.room}/d.tar", output="")
    bench.build("-t", "localhost/podman:2", "-o", f"type=oci,dest={bench.room}/o.tar", output="")
    run = Path(tempfile.mkdtemp(prefix="podman-"))  # podman wants its path to be short
    podman = ("podman", "--root", bench.room / "podman", "--runroot", run, "--storage-driver=vfs")
    try:
        for archive in ("d.tar", "o.tar"):
            _run(*podman, "load", "-i", bench.room / archive)
        found = json.loads(_run(*podman, "images", "--format", "json"))
        assert {name for one in found for name in one["Names"]} == {"localhost/podman:1", "localhost/podman:2"}
        # One and the same image under two names.
        assert len({one["Id"] for one in found}) == 1
    finally:
        remove_tree(run)
