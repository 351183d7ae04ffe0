"""Builds where roots are copied: a stage is copied once, and what its steps left is found again by later builds."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers, processes_of

STEPS = """\
FROM base
RUN mkdir /d && echo 1 >/d/one && ln /d/one /d/same && ln -s one /d/link && mkfifo /d/fifo && chown 7:8 /d/one
RUN echo 2 >/two && rm /etc/group && touch -d '2001-09-09 01:46:40' /d/fifo
WORKDIR /job
COPY file /job/
RUN rm /d/same && mkdir /etc/group && echo more >>/job/file
"""


@pytest.fixture
def bench(bench_everyone: Bench) -> Bench:
    """Everybody's, with copies."""
    return replace(bench_everyone, words=(*bench_everyone.words, "--isolation=copy"))


def _snapshots(bench: Bench) -> list[Path]:
    (shelf,) = (bench.store / "snapshots").iterdir()
    return [path for path in shelf.iterdir() if path.name != "drafts"]


def _whole(bench: Bench) -> int:
    """How many snapshots of steps have their whole trees."""
    return sum((path / "fs").is_dir() for path in _snapshots(bench) if not path.name.startswith("base-"))


def _as_with_overlays(bench: Bench, *words: str) -> None:
    """The image that *bench* makes now is the one that is made anew with overlays."""
    _, image = bench.image(*words)
    other = replace(bench.with_store("other"), words=(*bench.words, "--isolation=overlay"))
    _, expected = other.image()
    assert image.files() == expected.files()
    count = range(1, len(image.manifest["layers"]))
    assert [_told(image.members(number)) for number in count] == [_told(expected.members(number)) for number in count]


def _told(members: Mapping[str, tarfile.TarInfo]) -> list[tuple[object, ...]]:
    """All but times, which the clock gave."""
    return [(one.name, one.type, one.mode, one.uid, one.gid, one.size, one.linkname) for one in members.values()]


def test_of_a_stage_only_its_end_has_a_whole_tree(bench: Bench) -> None:
    bench.write(STEPS, {"file": "content\n"})
    assert len(bench.build().performed) == 5
    assert _whole(bench) == 1
    assert len(_snapshots(bench)) == 6
    assert leftovers(bench.store) == []
    assert bench.build().performed == []
    _as_with_overlays(bench)


def test_a_step_in_the_middle_that_changes_is_performed_on_what_was_there(bench: Bench) -> None:
    bench.write(STEPS, {"file": "content\n"})
    bench.build()
    bench.write(files={"file": "changed\n"})
    assert [title.split()[0] for title in bench.build().performed] == ["COPY", "RUN"]
    _as_with_overlays(bench)


@pytest.mark.parametrize("number", [2, 5])
def test_a_step_that_fails_is_mended_without_performing_the_others_again(bench: Bench, number: int) -> None:
    lines = STEPS.splitlines()
    broken = [*lines[:number], "RUN rm -r /bin/../d /etc; exit 3", *lines[number:]]
    bench.write("\n".join(broken), {"file": "content\n"})
    assert bench.build(check=False).error["code"] == "command-failed"
    assert leftovers(bench.store) == []
    bench.write(STEPS)
    assert len(bench.build().performed) == 6 - number
    _as_with_overlays(bench)


def test_a_step_that_is_killed_costs_only_itself(bench: Bench) -> None:
    lines = STEPS.splitlines()
    bench.write("\n".join([*lines[:5], "RUN rm /two && echo begun && sleep 60"]), {"file": "content\n"})
    person, other = bench.pybuild.person, os.geteuid() != bench.pybuild.person.uid
    build = subprocess.Popen(
        [*bench.pybuild.launch, *bench.all_words("--progress=plain")],
        env=person.environment() | {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        cwd=bench.room,
        stderr=subprocess.PIPE,
        start_new_session=True,
        user=person.uid if other else None,
        group=person.gid if other else None,
        extra_groups=[] if other else None,
    )
    assert build.stderr is not None
    while line := build.stderr.readline():
        if line.endswith(b" begun\n"):
            break
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    build.stderr.close()
    _until(lambda: not processes_of(bench.room))
    bench.write(STEPS)
    assert len(bench.build().performed) == 1
    assert leftovers(bench.store) == []
    _as_with_overlays(bench)


def test_a_stage_that_several_take_from_keeps_its_tree_and_one_that_goes_on_does_not(bench: Bench) -> None:
    dockerfile = """\
FROM base AS one
RUN echo 1 >/one
FROM one AS two
RUN echo 2 >/two
FROM two AS three
RUN echo 3 >/three
FROM base
COPY --from=two /two /from-two
COPY --from=three /one /three /
RUN --mount=from=two,target=/mnt cat /mnt/one /mnt/two >/both
RUN --mount=from=three,target=/mnt,rw echo x >/mnt/x && cat /mnt/one >>/both
"""
    bench.write(dockerfile)
    assert len(bench.build().performed) == 7
    # Of one, which two took over, nothing but the layer; two and three were copied from; and the image.
    assert _whole(bench) == 3
    _as_with_overlays(bench)


def test_a_stage_that_went_on_can_be_taken_from_by_a_later_build(bench: Bench) -> None:
    stages = "FROM base AS one\nRUN echo 1 >/one && chown 5:6 /one\nRUN echo 2 >/two\nFROM one\nRUN echo 3 >/three\n"
    bench.write(stages)
    bench.build()
    later = stages + "FROM base\nCOPY --from=one /one /two /\n"
    bench.write(later)
    assert [title.split()[0] for title in bench.build().performed] == ["COPY"]
    _as_with_overlays(bench)


def test_equal_beginnings_of_several_stages_are_performed_once_and_serve_all(bench: Bench) -> None:
    beginning = "RUN echo 1 >/one\nRUN echo 2 >/two\n"
    stages = "".join(f"FROM base AS s{n}\n{beginning}RUN echo {n} >/n{n}\n" for n in range(3))
    dockerfile = stages + "FROM base\n" + "".join(f"COPY --from=s{n} /two /n{n} /{n}/\n" for n in range(3))
    bench.write(dockerfile)
    bench.build("--jobs=1")
    _as_with_overlays(bench)


def test_builds_that_share_a_beginning_at_once_make_the_same_images(bench: Bench) -> None:
    """Either takes over what the other one stands on, or copies it."""
    for number in range(3):
        folder = bench.room / f"context{number}"
        folder.mkdir()
        (folder / "file").write_text("content\n")
        (folder / "Dockerfile").write_text(f"{STEPS}RUN echo {number} >/number\nRUN echo {number} >>/d/one\n")
    with ThreadPoolExecutor(6) as pool:
        builds = [pool.submit(bench.build, context=bench.room / f"context{number}") for number in (0, 1, 2, 0, 1, 2)]
    assert [build.result().code for build in builds] == [0] * 6
    assert leftovers(bench.store) == []
    for number in range(3):
        assert bench.build(context=bench.room / f"context{number}").performed == []


def test_another_base_with_the_same_steps_is_another_image(bench: Bench) -> None:
    bench.write("FROM base\nRUN echo changed >/etc/motd\n")
    layout = bench.room / "changed"
    bench.build(output=f"type=oci,dest={layout},tar=false")
    bench.write("FROM base\nWORKDIR /job\n")
    bench.build()
    found = bench.build(f"--build-context=base=oci-layout://{layout}")
    assert found.performed == ["WORKDIR /job"]


def test_what_was_taken_over_counts_and_goes_with_the_rest(bench: Bench) -> None:
    bench.write(STEPS, {"file": "content\n"})
    bench.build()
    bench.pybuild("prune", "-af")
    assert _snapshots(bench) == []
    assert len(bench.build().performed) == 5


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
