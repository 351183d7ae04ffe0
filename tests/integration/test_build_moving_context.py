"""Somebody writes to the context while it is built: what was copied is never found as what was hashed."""

from __future__ import annotations

import textwrap

import pytest
from worlds.building import Bench

# A build whose copies begin by having the context's file written to, after its hash was taken.
DRIVER = """
import sys
from pathlib import Path
from builder.engine.copying import steps as copying
from builder.cli.main import entry

copy, target = copying.copy, Path(sys.argv.pop(1))

def late(step, source, *rest, **more):
    if source is not None and not source.owners:
        target.write_bytes(Path(f"{target}.late").read_bytes())
    return copy(step, source, *rest, **more)

copying.copy = late
entry()
"""


def _build_while_writing(bench: Bench, name: str) -> str:
    words = bench.all_words("--progress=plain")
    launch = [bench.pybuild.launch[0], "-P", "-c", textwrap.dedent(DRIVER), str(bench.context / name), *words]
    environment = {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment}
    done = bench.pybuild.person.run(launch, env=environment, cwd=bench.room, check=True)
    return done.stderr


@pytest.mark.parametrize(
    "line", ["COPY file /seen", "COPY . /", "RUN --mount=target=/context cp /context/file /seen"], ids=str.split
)
def test_a_copy_of_what_changed_meanwhile_is_not_found_again(bench_everyone: Bench, line: str) -> None:
    bench = bench_everyone
    bench.write(f"FROM base\n{line}\n", {"file": "before\n"})
    (bench.context / "file").chmod(0o666)
    (bench.context / "file.late").write_text("after!\n")
    said = _build_while_writing(bench, "file")
    assert "file changed while it was copied; the next build copies it again" in said

    bench.write(files={"file": "before\n"})
    again, image = bench.image()
    assert again.performed == [line]
    path = "file" if line.startswith("COPY .") else "seen"
    assert image.files()[path] == b"before\n"
    assert bench.build().performed == []
