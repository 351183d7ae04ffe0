"""A build can be ended at any moment: nothing runs on, no half of a file has its name, and the next one succeeds."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from worlds.bases import write_layout
from worlds.building import Bench, Image, leftovers, mounts_below, processes_of
from worlds.people import Person
from worlds.processes import remove_tree
from worlds.registry import Registry

DOCKERFILE = """\
FROM many AS one
ENV OF={room}
COPY files/ /files/
RUN --mount=type=cache,target=/cache cat /many/* >/cache/all && cp /cache/all /all
FROM many AS two
ENV OF={room}
RUN i=0; while [ $i -lt 100 ]; do echo $i >/tmp/$i; i=$((i+1)); done; rm -r /many/1*
FROM base
ENV OF={room}
COPY --from=one /all /files/ /one/
COPY --from=two /tmp/ /two/
COPY --from=two /many/ /three/
RUN rm /one/1* && echo end >/end
"""


@pytest.fixture
def many(workroom: Path) -> Path:
    """An OCI layout whose unpacking takes a while."""
    layout = workroom / "many"

    def layer(start: int) -> Callable[[BinaryIO], None]:
        def write(out: BinaryIO) -> None:
            with tarfile.open(fileobj=out, mode="w|") as tar:
                tar.add(shutil.which("busybox") or "/bin/busybox", "bin/sh")
                for applet in ("cat", "cp", "rm"):
                    link = tarfile.TarInfo(f"bin/{applet}")
                    link.type, link.linkname = tarfile.SYMTYPE, "sh"
                    tar.addfile(link)
                folder = tarfile.TarInfo("tmp")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(folder)
                for number in range(start, start + 400):
                    entry = tarfile.TarInfo(f"many/{number}")
                    entry.size = 3000
                    tar.addfile(entry, io.BytesIO(number.to_bytes(3, "big") * 1000))

        return write

    if not layout.exists():
        write_layout(layout, layer(0), layer(300), config={})
    return layout


def _start(bench: Bench, *words: str | Path, output: str) -> subprocess.Popen[bytes]:
    """A build in a session of its own, as a terminal's foreground job is in a group of its own."""
    person = bench.pybuild.person
    with (bench.room / "log").open("wb") as log:
        return _popen(bench, person, words, output, log)


def _popen(
    bench: Bench, person: Person, words: Sequence[str | Path], output: str, log: BinaryIO
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*bench.pybuild.launch, *bench.all_words("--progress=plain", *words, output=output)],
        env=person.environment() | {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        cwd=bench.room,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
        user=person.uid if os.geteuid() != person.uid else None,
        group=person.gid if os.geteuid() != person.uid else None,
        extra_groups=[] if os.geteuid() != person.uid else None,
    )


def _wait_for_end(room: Path, seconds: float = 8) -> None:
    """Nothing of the build runs any more; a kill takes the kernel a moment."""
    until = time.monotonic() + seconds
    while processes_of(room):
        assert time.monotonic() < until, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(room)]
        time.sleep(0.02)


def _wait_for(log: Path, text: bytes, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while text not in (log.read_bytes() if log.exists() else b""):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL", "SIGHUP"])
def test_a_running_command_ends_with_the_build(bench_everyone: Bench, how: str) -> None:
    bench, output = bench_everyone, bench_everyone.room / "out.tar"
    bench.write(
        f"FROM base\nENV OF={bench.room}\nRUN echo before >/before\n"
        "RUN trap '' TERM INT HUP; (sleep 1000 & sleep 1001 & echo started; setsid sleep 1002)\n"
    )
    process = _start(bench, output=f"type=docker,dest={output}")
    _wait_for(bench.room / "log", b" started\n")
    began = time.monotonic()
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))
    code = process.wait(20)
    _wait_for_end(bench.room)
    assert time.monotonic() - began < 20  # the commands sleep for a quarter of an hour
    assert code == {"Ctrl-C": 130, "SIGTERM": 143, "SIGKILL": -9, "SIGHUP": -1}[how]
    log = (bench.room / "log").read_text()
    assert "Traceback" not in log
    if how == "Ctrl-C":
        assert log.endswith("interrupted\n")
    assert not output.exists()
    assert mounts_below(bench.room) == []
    if how in ("Ctrl-C", "SIGTERM"):
        assert leftovers(bench.store) == []
    # What was done before is not lost.
    bench.write(f"FROM base\nENV OF={bench.room}\nRUN echo before >/before\nRUN true\n")
    built = bench.build()
    assert built.cached == ["RUN echo before >/before"]
    assert leftovers(bench.store) == []


def test_all_stages_that_run_end_with_the_build(bench_everyone: Bench) -> None:
    bench = bench_everyone
    lock = "--mount=type=cache,target=/c,sharing=locked"
    bench.write(
        f"FROM base AS one\nENV OF={bench.room}\nRUN {lock} echo started && sleep 1000\n"
        f"FROM base AS two\nENV OF={bench.room}\nRUN echo started && sleep 1001\n"
        f"FROM base AS three\nRUN sleep 0.1\nRUN {lock} sleep 1002\n"
        "FROM base\nCOPY --from=one / /1\nCOPY --from=two / /2\nCOPY --from=three / /3\n"
    )
    process = _start(bench, "--jobs=4", output="type=image")
    _wait_for(bench.room / "log", b"RUN sleep 0.1: DONE")
    time.sleep(0.3)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    _wait_for_end(bench.room)
    assert time.monotonic() - began < 20  # the commands sleep for a quarter of an hour
    assert leftovers(bench.store) == []
    assert (bench.room / "log").read_text().endswith("interrupted\n")


def test_builds_killed_at_random_moments_leave_nothing_wrong(bench_everyone: Bench, many: Path) -> None:
    bench = bench_everyone
    # The commands' environment names the test's folder: whoever looks for its processes finds them, too.
    bench.write(DOCKERFILE.format(room=bench.room), {f"files/{number}": f"{number}\n" * 50 for number in range(100)})
    given = ("--build-context", f"many=oci-layout://{many}", "--reproducible")
    began = time.monotonic()
    _, clean = bench.with_store("clean").image(*given)
    whole = time.monotonic() - began
    expected = clean.digest
    dice = random.Random(20)
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT]
    finished = 0
    for number in range(8):
        output = bench.room / f"out{number}"
        kind = ("docker", "oci", "local", "tar")[number % 4]
        process = _start(
            bench, *given, *(["--no-cache"] if number % 3 == 1 else []), output=f"type={kind},dest={output}"
        )
        time.sleep(dice.uniform(0.05, whole * 1.1))
        os.killpg(process.pid, signals[number % len(signals)])
        code = process.wait(20)
        _wait_for_end(bench.room)
        assert mounts_below(bench.room) == []
        log = (bench.room / "log").read_text()
        assert "Traceback" not in log
        assert "error[" not in log
        if code == 0:
            finished += 1
        elif output.exists():
            # Ended after the output was complete.
            assert _is_whole(output, kind)
        if number % 4 == 3:
            _, image = bench.image(*given)
            assert image.digest == expected
            assert (image.files(), image.config) == (clean.files(), clean.config)
            if number != 7:
                remove_tree(bench.store)
    assert finished < 8
    bench.write(files={"files/0": "changed\n"})
    bench.build(*given)
    assert leftovers(bench.store) == []
    hidden = [path.name for path in bench.room.iterdir() if path.name.startswith(".")]
    assert all(name.startswith(".out") for name in hidden), hidden


def _is_whole(output: Path, kind: str) -> bool:
    if kind == "local":
        return (output / "end").exists()
    with tarfile.open(output) as tar:
        return ("end" if kind == "tar" else "index.json") in tar.getnames()


def test_a_download_that_is_killed_is_taken_up_again(bench: Bench, registry: Registry, tmp_path: Path) -> None:
    noise = os.urandom(30 << 20)

    def layer(out: BinaryIO) -> None:
        with tarfile.open(fileobj=out, mode="w|") as tar:
            entry = tarfile.TarInfo("noise")
            entry.size = len(noise)
            tar.addfile(entry, io.BytesIO(noise))

    layout = tmp_path / "noise"
    write_layout(layout, layer, config={})
    name = registry.push(layout, "noise:1")
    bench.write(f"FROM {name}\nCOPY Dockerfile /\n")
    for delay in (0.12, 0.18, 0.25):
        process = _start(bench, output="type=image")
        time.sleep(delay)
        process.kill()
        process.wait()
        _wait_for_end(bench.room)
    bench.build("-o", f"type=oci,dest={bench.room}/layout,tar=false", output="")
    image = Image.of(bench.room / "layout")
    assert image.manifest["layers"][0]["size"] > len(noise)
    assert leftovers(bench.store) == []
