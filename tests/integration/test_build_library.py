"""The library's one function: a request in, an image out, events on the way."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers

DRIVER = """
import json, sys
from builder.build import BuildRequest, Output, Secret, build
from builder.errors import BuilderError

given = json.loads(sys.argv[1])
outputs = tuple(Output(**one) for one in given.pop("outputs", ()))
secrets = tuple(Secret(id=name, value=value.encode()) for name, value in given.pop("secrets", {}).items())
events = []
found = {}
try:
    built = build(BuildRequest(**given, outputs=outputs, secrets=secrets), events.append)
    found["built"] = built and {"digest": built.digest, "config": built.config, "names": built.names}
except BuilderError as e:
    found["error"] = [type(e).__name__, e.code, e.message]
found["events"] = [[type(event).__name__, repr(event)] for event in events]
found["modules"] = sorted(name for name in sys.modules if name.startswith("builder."))
print(json.dumps(found))
"""


def _call(bench: Bench, **request: object) -> dict[str, object]:
    given = {
        "context": str(bench.context),
        "root": str(bench.store),
        "contexts": {"base": f"oci-layout://{bench.base}"},
    }
    words = [bench.pybuild.launch[0], "-P", "-c", textwrap.dedent(DRIVER), json.dumps(given | request)]
    done = bench.pybuild.person.run(words, env=bench.pybuild.environment, cwd=bench.room, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _names(found: dict[str, object]) -> list[str]:
    events = found["events"]
    assert isinstance(events, list)
    return [name for name, _ in events if name != "Progress"]


def test_a_caller_gets_events_and_an_image(bench_everyone: Bench) -> None:
    bench = bench_everyone
    bench.write("FROM base\nRUN --mount=type=secret,id=s wc -c </run/secrets/s; touch /x\n")
    archive = bench.room / "x.tar"
    request = {
        "outputs": [{"kind": "docker", "dest": str(archive), "attributes": {}}],
        "tags": ["x:1"],
        "secrets": {"s": "12345"},
    }
    first = _call(bench, **request)
    assert _names(first) == [
        "PlanReady",
        "Note",
        "StepStarted",
        "StepOutput",
        "StepFinished",
        "Exported",
        "BuildFinished",
    ]
    assert first["built"]["names"] == ["x:1"]
    assert archive.exists()
    again = _call(bench, **request)
    assert _names(again) == ["PlanReady", "StepCached", "Exported", "BuildFinished"]
    assert again["built"] == first["built"]
    # Nothing that performs was even imported.
    modules = again["modules"]
    assert isinstance(modules, list)
    rooms = {
        name
        for name in modules
        if name.startswith(("builder.sandbox", "builder.snapshot", "builder.registry", "builder.cli"))
    }
    assert rooms == set()
    assert _call(bench)["built"] is None
    assert leftovers(bench.store) == []


def test_a_caller_gets_errors_as_values(bench: Bench) -> None:
    bench.write("FROM base\nRUN exit 5\n")
    found = _call(bench)
    assert found["error"] == [
        "CommandFailed",
        "command-failed",
        'process "/bin/sh -c exit 5" did not complete successfully: exit code: 5',
    ]
    assert _names(found)[-1] == "StepFailed"
    bench.write("FROM\n")
    assert _call(bench)["error"][0] == "DockerfileError"


def test_a_program_with_threads_may_build(bench: Bench) -> None:
    bench.write("FROM base\nARG N\nRUN echo $N >/n\n")
    program = """
    import sys, threading
    from pathlib import Path
    from builder.build import BuildRequest, Output, build
    context, root, base = sys.argv[1:]
    ends = {}
    def one(n):
        ends[n] = build(BuildRequest(context=context, root=root, contexts={"base": f"oci-layout://{base}"},
                        build_args={"N": str(n)}, outputs=(Output(kind="image"),))).digest
    threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]
    [t.start() for t in threads]; [t.join() for t in threads]
    print(len(set(ends.values())))
    """
    words = [sys.executable, "-P", "-c", textwrap.dedent(program), bench.context, bench.store, bench.base]
    done = bench.pybuild.person.run(words, env=bench.pybuild.environment, check=True, timeout=60)
    assert done.stdout == "3\n", done.stderr
    # Temporary folders may be left here: a child that one thread forks holds the others' locks for a moment (see
    # store.scratch). A later build sweeps them.


def _rss(bench: Bench, words: Sequence[str], room: Path) -> tuple[int, int]:
    """Exit code and the largest resident set of any process of the build, in KiB. getrusage(2), RUSAGE_CHILDREN."""
    program = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = bench.pybuild.person.run(
        [sys.executable, "-c", program, *bench.pybuild.launch, *words],
        env={"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        cwd=room,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    code, size = done.stdout.split()
    assert code == "0", done.stderr
    return int(code), int(size)


@pytest.mark.parametrize("output", ["type=docker", "type=oci,compression=gzip", "type=local"])
def test_big_layers_need_little_memory(bench: Bench, output: str) -> None:
    bench.write(
        "FROM base\nRUN head -c 200000000 /dev/urandom >/noise && head -c 200000000 /dev/zero >/zeros\nCOPY big /big\n"
    )
    with (bench.context / "big").open("wb") as file:
        file.truncate(100_000_000)
    code, size = _rss(bench, bench.all_words(output=f"{output},dest={bench.room}/out"), bench.room)
    assert code == 0
    assert size < 128 << 10, size
