"""Files that are bigger than what a plain tar header can say."""

from __future__ import annotations

import os
import subprocess
import tarfile

import pytest
from worlds.building import Bench


@pytest.mark.skipif(
    os.environ.get("PYBUILD_TEST_SLOW") != "1", reason="hashes 9 GiB three times; set PYBUILD_TEST_SLOW=1 to run it"
)
def test_a_file_of_nine_gigabytes_goes_through(bench: Bench) -> None:
    size = 9 << 30
    bench.write(f"FROM base\nRUN truncate -s {size} /big && ln /big /same\nRUN stat -c %s /big >/size\n")
    target = bench.room / "layout"
    bench.build("-o", f"type=oci,dest={target},tar=false,compression=zstd", output="", timeout=600)
    reader = subprocess.Popen(
        [*bench.pybuild.launch, *bench.all_words("--progress=quiet", output="type=tar,dest=-")],
        env=bench.pybuild.person.environment() | {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        stdout=subprocess.PIPE,
    )
    assert reader.stdout is not None
    with reader.stdout, tarfile.open(fileobj=reader.stdout, mode="r|") as tar:
        found = {member.name: (member.size, member.linkname) for member in tar}
    assert reader.wait() == 0
    assert found["big"] == (size, "")
    assert found["same"] == (0, "big")
