"""What a second build performs: nothing that it need not, and everything that it must."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers
from worlds.registry import Registry

DOCKERFILE = """\
FROM base AS first
WORKDIR /job
RUN echo made >made
FROM base
LABEL one=1
COPY --from=first /job/made /
COPY file folder/ /data/
ENV GREETING=hello
RUN cat /data/file >/copy
CMD ["true"]
"""
FILES = {"file": "content\n", "folder/a": "a\n", "folder/b": "b\n"}


def test_a_second_build_performs_nothing_and_enters_no_namespace(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(DOCKERFILE, FILES)
    first, image = bench.image()
    assert len(first.performed) == 5
    assert first.entered
    assert leftovers(bench.store) == []

    # Not even one that the kernel would have to refuse: as root of a namespace of its own that may hold no other.
    again, same = bench.image()
    assert again.performed == []
    assert len(again.cached) == 5
    assert not again.entered
    assert same.digest == image.digest


def test_a_cached_build_needs_no_right_to_make_namespaces(bench_rootless: Bench, require: Callable[..., None]) -> None:
    require("bwrap")
    bench = bench_rootless
    bench.write(DOCKERFILE, FILES)
    bench.build()
    words = bench.all_words("--progress=plain")
    closed = _without_namespaces(bench, words)
    assert closed.returncode == 0, closed.stderr
    assert "5 of 5 steps cached" in closed.stderr


def _without_namespaces(bench: Bench, words: list[str]) -> subprocess.CompletedProcess[str]:
    jail = ["bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--"]
    environment = {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment}
    return bench.pybuild.person.run([*jail, *bench.pybuild.launch, *words], env=environment, cwd=bench.room)


def test_what_changes_a_copy_and_what_does_not(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(DOCKERFILE, FILES)
    bench.build()

    os.utime(bench.context / "folder/a", (1, 1))
    os.utime(bench.context / "folder", (1, 1))
    (bench.context / "beside").write_text("not copied\n")
    assert bench.build().performed == []

    copied = ["COPY file folder/ /data/", "RUN cat /data/file >/copy"]
    (bench.context / "folder/a").chmod(0o755)
    assert bench.build().performed == copied
    (bench.context / "folder/a").write_text("b\n")
    assert bench.build().performed == copied
    (bench.context / "folder/a").rename(bench.context / "folder/c")
    assert bench.build().performed == copied
    (bench.context / "folder/c").unlink()
    (bench.context / "folder/c").symlink_to("b")
    assert bench.build().performed == copied
    # Back to what there was: everything is remembered.
    (bench.context / "folder/c").unlink()
    (bench.context / "folder/a").write_text("a\n")
    assert bench.build().performed == []


def test_a_command_that_makes_the_same_again_lets_later_steps_be_found(bench_everyone: Bench) -> None:
    bench = bench_everyone
    text = "FROM base AS compiler\nCOPY source .\nRUN tr -d '#' <source >program\n"
    text += "FROM base\nCOPY --from=compiler /program /\nRUN cp program installed\n"
    bench.write(text, {"source": "text\n"})
    bench.build()
    bench.write(files={"source": "te#xt\n"})
    again = bench.build()
    assert again.performed == ["COPY source .", "RUN tr -d '#' <source >program"]
    assert again.cached == ["COPY --from=compiler /program /", "RUN cp program installed"]
    assert bench.build().performed == []
    # In one stage, too.
    text = "FROM base\nRUN --mount=target=/context tr -d '#' </context/source >program\nRUN cp program installed\n"
    bench.write(text, {"source": "text\n"})
    bench.build()
    bench.write(files={"source": "te##xt\n"})
    again = bench.build()
    assert len(again.performed) == 1
    assert again.cached == ["RUN cp program installed"]
    assert not bench.build().entered


def test_metadata_changes_no_layer_but_the_environment_of_a_command_does(bench: Bench) -> None:
    text = "FROM base\n{}\nRUN echo ${{GREETING:-none}} >/said\n"
    bench.write(text.format("LABEL one=1"))
    bench.build()
    for line in ("LABEL one=2 two=1", "CMD echo", "EXPOSE 80", "STOPSIGNAL 9", "VOLUME /x", "HEALTHCHECK NONE"):
        bench.write(text.format(line))
        assert bench.build().performed == [], line
    for line in ("ENV GREETING=hi", "ENV GREETING=ho", "ENV OTHER=1", "USER 1", 'SHELL ["/bin/sh", "-ec"]'):
        bench.write(text.format(line) if "USER" not in line else "FROM base\nUSER 1\nRUN true\n")
        assert len(bench.build().performed) == 1, line


def test_an_argument_counts_where_it_is_used(bench: Bench) -> None:
    text = "FROM base\nRUN echo before >/before\nARG VERSION=1\nRUN echo after >/after\nCOPY file /\n"
    bench.write(text, FILES)
    bench.build()
    assert bench.build("--build-arg=VERSION=2").performed == ["RUN echo after >/after"]
    assert bench.build("--build-arg=VERSION=1").performed == []
    text = "FROM base\nARG VERSION=1\nCOPY file /\n"
    bench.write(text, FILES)
    bench.build()
    assert bench.build("--build-arg=VERSION=3").performed == []


def test_what_the_command_line_gives_to_commands_counts(bench: Bench) -> None:
    text = (
        "FROM base\nRUN ulimit -n >/limit; df -k /dev/shm >/shm; cut -f2 /etc/hosts >/hosts; ls /sys/class/net >/net\n"
    )
    bench.write(text)
    _, plain = bench.image()
    for words in (["--ulimit=nofile=64"], ["--shm-size=32m"], ["--add-host=extra:10.0.0.1"], ["--network=none"]):
        built, image = bench.image(*words)
        assert built.performed == [text.splitlines()[1]], words
        assert image.files() != plain.files(), words
        assert bench.build(*words).performed == []
    # Of a host the name counts, not the address (BuildKit, exec.go, CacheMap); nothing of it is a copy's.
    assert bench.build("--add-host=extra:10.0.0.2").performed == []
    bench.write("FROM base\nCOPY file /\n", FILES)
    bench.build()
    assert bench.build("--network=none", "--ulimit=nofile=64").performed == []


def test_the_time_that_new_folders_get_counts(bench: Bench) -> None:
    bench.write("FROM base\nWORKDIR /made\n")
    times = []
    for epoch in ("1000000000", "1100000000"):
        _, image = bench.image(f"--build-arg=SOURCE_DATE_EPOCH={epoch}")
        times.append(image.members(1)["made"].mtime)
    assert times == [1000000000, 1100000000]


def test_a_layer_that_lost_its_end_is_made_again(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(DOCKERFILE, FILES)
    _, image = bench.image()
    for number in range(len(image.manifest["layers"])):
        blob = bench.store / "blobs/sha256" / image.manifest["layers"][number]["digest"].removeprefix("sha256:")
        bench.pybuild.person.run(["sh", "-c", f"chmod u+w {blob} && truncate -s -512 {blob}"], check=True)
        again, same = bench.image()
        assert again.performed == []
        assert same.digest == image.digest
        assert same.layer(number) == image.layer(number)


def test_no_cache_performs_everything_or_the_stages_that_it_names(bench: Bench) -> None:
    text = "FROM base AS one\nRUN cat /proc/sys/kernel/random/uuid >/one\n"
    text += "FROM base AS two\nCOPY --from=one /one /\nRUN echo 2 >/two\n"
    bench.write(text)
    _, image = bench.image()
    again, other = bench.image("--no-cache")
    assert len(again.performed) == 3
    assert other.files()["one"] != image.files()["one"]
    third = bench.build("--no-cache-filter=two")
    assert third.cached == ["RUN cat /proc/sys/kernel/random/uuid >/one"]
    assert len(third.performed) == 2
    # What --no-cache made is what later builds find.
    _, found = bench.image()
    assert found.files()["one"] == other.files()["one"]


def test_a_base_that_only_its_times_tell_apart_is_the_same(bench_everyone: Bench, tmp_path: Path) -> None:
    bench = bench_everyone
    bench.write("FROM small\nCOPY file /copied\nCOPY --from=small /data /again\n", FILES)
    layouts = {name: _base(bench.room / name, **how) for name, how in BASES.items()}
    first = bench.build("--build-context", f"small=oci-layout://{layouts['old']}")
    assert len(first.performed) == 2
    later = bench.build("--build-context", f"small=oci-layout://{layouts['rebuilt']}")
    assert later.performed == []
    other = bench.build("--build-context", f"small=oci-layout://{layouts['other']}")
    assert len(other.performed) == 2


BASES = {
    "old": {"content": b"data\n", "mtime": 1},
    "rebuilt": {"content": b"data\n", "mtime": 2},
    "other": {"content": b"more\n", "mtime": 2},
}


def _base(layout: Path, *, content: bytes, mtime: int) -> Path:
    import io
    import tarfile
    from typing import BinaryIO

    from worlds.bases import write_layout

    def layer(out: BinaryIO) -> None:
        with tarfile.open(fileobj=out, mode="w|") as tar:
            entry = tarfile.TarInfo("data")
            entry.size, entry.mtime = len(content), mtime
            tar.addfile(entry, io.BytesIO(content))

    write_layout(layout, layer, config={})
    return layout


def test_a_name_that_means_another_image_is_another_base(bench: Bench, registry: Registry, tmp_path: Path) -> None:
    old, new = _base(tmp_path / "a", **BASES["old"]), _base(tmp_path / "b", **BASES["other"])
    name = registry.push(old, "retagged:1")
    bench.write(f"FROM {name}\nCOPY file /copied\n", FILES)
    _, image = bench.image()
    registry.push(new, "retagged:1")
    # As with Docker, what is here is used until somebody asks for what is there.
    found, same = bench.image()
    assert found.performed == []
    assert same.digest == image.digest
    pulled, other = bench.image("--pull")
    assert pulled.performed == ["COPY file /copied"]
    assert other.manifest["layers"][0] != image.manifest["layers"][0]


SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize("fails", [False, True])
def test_secrets_and_proxies_are_nowhere_to_be_found(bench_everyone: Bench, *, fails: bool) -> None:
    bench = bench_everyone
    end = "exit 3" if fails else "true"
    bench.write(
        "FROM base\n"
        "RUN --mount=type=secret,id=file --mount=type=secret,id=env,env=TOKEN,required \\\n"
        f' test -n "$TOKEN" && wc -c </run/secrets/file && echo $HTTP_PROXY | wc -c && {end}\n'
    )
    secret = bench.room / "secret"
    secret.write_text(SECRET)
    given = ("--secret", f"id=file,src={secret}", "--secret", "id=env,env=TOKEN")
    proxy = ("--build-arg", f"HTTP_PROXY=http://user:{SECRET}@proxy.example.com:3128")
    archive = bench.room / "out.tar"
    built = bench.build(*given, *proxy, output=f"type=oci,dest={archive}", env={"TOKEN": SECRET}, check=False)
    assert built.code == int(fails)
    numbers = [line for line in built.said.split() if line.isdigit()]
    assert numbers == [str(len(SECRET)), str(len(SECRET) + 36)], built.said
    for word in (SECRET, SECRET[::-1]):
        assert word not in built.err + built.out
    found = subprocess.run(["grep", "-rlF", SECRET, bench.store, *bench.room.glob("out.tar")], capture_output=True)
    assert found.stdout == b""
    if not fails:
        # Other values of both are no reason to perform the command again.
        secret.write_text("another")
        again = bench.build(
            *given,
            "--build-arg",
            "HTTP_PROXY=http://example.com",
            output=f"type=oci,dest={archive}",
            env={"TOKEN": "x"},
        )
        assert again.performed == []
