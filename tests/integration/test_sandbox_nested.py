"""A build in a command of ours, which is granted no namespace: it takes the jail, and the image is the same."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worlds.bases import runner_layout
from worlds.building import Bench, Image

DOCKERFILE = (
    "FROM base\nCOPY file /file\nRUN mkdir /d && echo one >/d/a && chown 33:44 /d/a && ln -s a /d/l && rm /file\n"
    "RUN rm -r /d && mkdir /d && echo two >/d/b\n"
)
EPOCH = {"SOURCE_DATE_EPOCH": "1000000000"}
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runner(require: Callable[..., None], workroom: Path) -> Path:
    """An OCI layout with Python that everybody can read."""
    require("mmdebstrap")
    return Path(shutil.copytree(runner_layout(), workroom / "runner-oci"))


def test_a_build_runs_in_a_container_of_ours(bench_rootless: Bench, runner: Path) -> None:
    """Where the outer one emulates ids, which leaves the inner one no supervisor of its own."""
    bench = bench_rootless
    bench.write(DOCKERFILE, {"file": "hello"})
    _, plain = bench.image("--reproducible", env=EPOCH)
    bench.pybuild(
        *("build", "--quiet", "-t", "runner", "-o", "type=image", f"--build-context=base=oci-layout://{runner}", "-"),
        stdin="FROM base\n",
        check=True,
    )
    out = bench.room / "out"
    out.mkdir(mode=0o777)
    bench.pybuild.person.owns(out)
    python = Path(sys.base_prefix)
    seen = [CHECKOUT, bench.base, bench.context, *([python] if python != Path("/usr") else [])]
    seen += [Path(folder) for folder in bench.pybuild.environment.get("PYTHONPATH", "").split(":") if folder]
    volumes = [word for folder in seen for word in ("-v", f"{folder}:{folder}:ro")]
    variables = {"PYTHONDONTWRITEBYTECODE": "1", "PYBUILD_ROOT": "/store", **bench.pybuild.environment, **EPOCH}
    words = ["--reproducible", "-o", f"type=oci,dest={out}/image,tar=false"]
    bench.pybuild(
        *("run", "--rm", "--userns", "single"),
        *(*volumes, "-v", f"{out}:{out}", *(word for pair in variables.items() for word in ("-e", "=".join(pair)))),
        *("runner", *bench.pybuild.launch, *bench.all_words(*words, output="")),
        check=True,
    )
    assert Image.of(out / "image").digest == plain.digest
