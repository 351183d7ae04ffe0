"""Several builds on one store, and several stages in one build: at once, and as if one after the other."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest
from worlds.building import Bench, Built, leftovers

SAME = """\
FROM base AS one
COPY file /file
RUN cat /proc/sys/kernel/random/uuid >/one
FROM base
COPY --from=one /one /
RUN --mount=type=cache,target=/cache echo line >>/cache/lines && cp /cache/lines /
"""


def _at_once(*builds: threading.Thread) -> None:
    for build in builds:
        build.start()
    for build in builds:
        build.join(120)


def _build(bench: Bench, found: dict[str, Built], name: str, *words: str | Path) -> threading.Thread:
    def run() -> None:
        found[name] = bench.build(*words, check=False)

    return threading.Thread(target=run, name=name)


def test_builds_of_the_same_and_of_others_at_once(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(SAME, {"file": "content\n"})
    for number in range(3):
        other = SAME.replace("/one", f"/one{number}").replace("file /file", f"file /file{number}")
        bench.write(files={f"other{number}.Dockerfile": other})
    found: dict[str, Built] = {}
    words = {f"same{n}": ("-t", f"same{n}") for n in range(3)}
    words |= {f"other{n}": ("-t", f"other{n}", "-f", f"context/other{n}.Dockerfile") for n in range(3)}
    outputs = {name: ("-o", f"type=docker,dest={bench.room}/{name}.tar") for name in words}
    _at_once(*(_build(bench, found, name, *given, *outputs[name]) for name, given in words.items()))
    assert {name: built.code for name, built in found.items()} == dict.fromkeys(words, 0), found
    assert leftovers(bench.store) == []
    for name, given in words.items():
        again = bench.build(*given, *outputs[name])
        assert again.performed == []
        assert not again.entered


def test_two_builds_never_unpack_a_base_twice_or_half(bench: Bench) -> None:
    bench.write("FROM base\nRUN busybox true\n")
    for round_ in range(3):
        own = bench.with_store(f"store{round_}")
        found: dict[str, Built] = {}
        _at_once(*(_build(own, found, str(n), "--no-cache") for n in range(4)))
        assert [built.code for built in found.values()] == [0] * 4, found
        assert leftovers(own.store) == []


LOCKED = """\
FROM base
ARG NAME
RUN --mount=type=cache,id=shed,target=/cache,sharing={sharing} \\
    cd /cache; \\
    if mkdir lock 2>/dev/null; then sleep 0.3; rmdir lock; echo $NAME alone; else echo $NAME together; fi; \\
    echo $NAME >>names; cp names /names
"""


@pytest.mark.parametrize("sharing", ["locked", "shared", "private"])
def test_how_builds_at_once_share_a_cache(bench_everyone: Bench, sharing: str) -> None:
    bench = bench_everyone
    bench.write(LOCKED.format(sharing=sharing))
    bench.build("--build-arg=NAME=first")
    found: dict[str, Built] = {}
    _at_once(*(_build(bench, found, f"n{n}", f"--build-arg=NAME=n{n}") for n in range(3)))
    assert [built.code for built in found.values()] == [0] * 3, found
    said = "".join(built.said for built in found.values()).split("\n")
    together = sum(line.endswith(" together") for line in said)
    bench.write(
        f"FROM base\nRUN --mount=type=cache,id=shed,target=/cache,sharing={sharing} sort /cache/names >/names\n"
    )
    _, image = bench.image()
    names = image.files()["names"].decode().split()
    if sharing == "private":
        assert together == 0
        assert len(names) < 4
    else:
        assert together == 0 or sharing == "shared"
        assert names == ["first", "n0", "n1", "n2"]


def test_one_cache_may_be_mounted_twice_and_two_in_any_order(bench: Bench) -> None:
    mount = "--mount=type=cache,id={},target=/{},sharing=locked"
    a, b, again = mount.format("a", "a"), mount.format("b", "b"), mount.format("a", "again")
    bench.write(f"FROM base\nRUN {a} {again} echo 1 >/a/1; cp /again/1 /\n")
    _, image = bench.image(timeout=30)
    assert image.files()["1"] == b"1\n"
    shared = again.replace("locked", "shared")
    bench.write(f"FROM base\nRUN {shared} {a} ls /a /again\n")
    bench.build(timeout=30)
    # In opposite order, a hundred times at once: none waits for the other for ever.
    loop = "for i in 0 1 2 3; do true; done"
    stages = [f"FROM base AS s{n}\nRUN {a} {b} {loop}; echo {n} >/{n}\nRUN {b} {a} {loop}" for n in range(6)]
    stages += ["FROM base", *(f"COPY --from=s{n} /{n} /" for n in range(6))]
    bench.write("\n".join(stages) + "\n")
    bench.build("--jobs=6", timeout=60)


def test_a_seed_is_copied_once_however_many_begin_with_it(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base AS seed\nRUN mkdir /seed; i=0; while [ $i -lt 200 ]; do echo $i >/seed/$i; i=$((i+1)); done\n"
        + "".join(
            f"FROM base AS s{n}\nRUN --mount=type=cache,id=seeded,from=seed,source=/seed,target=/cache "
            f"ls /cache | wc -l | tee /{n}; touch /cache/0\n"
            for n in range(4)
        )
        + "FROM base\n"
        + "".join(f"COPY --from=s{n} /{n} /\n" for n in range(4))
    )
    _, image = bench.image("--jobs=4")
    assert image.files() == {str(n): b"200\n" for n in range(4)}


def test_stages_that_need_not_wait_run_at_once_and_others_not_at_all(bench: Bench) -> None:
    bench.write(
        "FROM base AS one\nRUN sleep 2; echo 1 >/1\nFROM base AS two\nRUN sleep 2; echo 2 >/2\n"
        "FROM base AS never\nRUN false\nFROM base\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"
    )
    built = bench.build("--jobs=2")
    starts = {one["title"]: one["time"] for one in built.named("step-started")}
    ends = {one["step"]: one["time"] for one in built.named("step-finished")}
    assert starts["RUN sleep 2; echo 2 >/2"] < min(ends.values())
    assert not any("false" in title for title in starts)
    built = bench.build("--jobs=1", "--no-cache")
    sleeps = [one for one in built.events if one["event"] in ("step-started", "step-finished")]
    assert [one["event"] for one in sleeps] == ["step-started", "step-finished"] * 4


def test_a_failure_ends_what_runs_beside_it(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write(
        "FROM base AS slow\nRUN echo waiting; sleep 100\nRUN echo after\n"
        "FROM base AS bad\nRUN sleep 0.3; echo oh no; exit 7\n"
        "FROM base\nCOPY --from=slow /a /\nCOPY --from=bad /b /\n"
    )
    began = time.monotonic()
    built = bench.build("--jobs=2", check=False)
    assert time.monotonic() - began < 50  # the other sleeps for 100 s
    assert built.code == 1
    assert built.error["exit_code"] == 7
    assert "exit 7" in built.error["message"]
    assert "RUN echo after" not in built.performed
    assert leftovers(bench.store) == []


def test_a_stage_that_two_wait_for_is_performed_once(bench: Bench) -> None:
    bench.write(
        "FROM base AS deep\nRUN cat /proc/sys/kernel/random/uuid | tee /id\n"
        "FROM deep AS a\nRUN cp /id /a\nFROM deep AS b\nRUN cp /id /b\n"
        "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    )
    layout = bench.room / "layout"
    built = bench.build("--jobs=1", "-o", f"type=local,dest={layout}", output="")
    assert len(built.performed) == 5
    assert (layout / "a").read_text() == (layout / "b").read_text()


def test_a_store_may_be_used_by_a_build_while_another_is_killed(bench: Bench) -> None:
    bench.write(SAME, {"file": "content\n"})
    words = bench.all_words("--no-cache")
    environment = bench.pybuild.person.environment() | {
        "PYBUILD_ROOT": str(bench.store),
        **bench.pybuild.environment,
    }
    for delay in (0.1, 0.2, 0.3):
        found: dict[str, Built] = {}
        steady = _build(bench, found, "steady", "--no-cache")
        steady.start()
        doomed = subprocess.Popen(
            [*bench.pybuild.launch, *words],
            env=environment,
            cwd=bench.room,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay)
        doomed.kill()
        doomed.wait()
        steady.join(60)
        assert found["steady"].code == 0, found["steady"].err
    bench.build("--no-cache")
    assert leftovers(bench.store) == []
