"""Limits where this machine cannot keep them: an error before anything runs; and none where none are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds.building import Bench


@pytest.fixture
def first_version() -> None:
    """Most machines have one version of control groups alone; each of these tests wants the first."""
    if not any("memory" in line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()):
        pytest.skip("this machine's controllers are not on cgroup v1")


@pytest.mark.usefixtures("first_version")
def test_controllers_of_version_1_are_told_before_anything_runs(bench_everyone: Bench) -> None:
    bench_everyone.write("FROM base\nRUN touch /never\n")
    refused = bench_everyone.build("--memory=64m", "--cpu-shares=512", check=False)
    assert (refused.code, refused.error["code"]) == (1, "no-control-group")
    assert refused.error["message"] == (
        "--memory --cpu-shares cannot be kept here: this host has its controllers on cgroup v1"
    )
    assert refused.error["hint"] == (
        "boot it with systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=all; or limit pybuild itself: what starts "
        "it, a service or a container, can"
    )
    assert refused.performed == []
    assert not refused.entered


@pytest.mark.usefixtures("first_version")
def test_a_container_that_cannot_be_limited_is_not_run(bench: Bench) -> None:
    bench.write("FROM base\nRUN touch /here\n")
    bench.build("--tag=app", output="type=image")
    refused = bench.pybuild("run", "--rm", "--pids-limit=10", "app", "echo", "ran")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "error[no-control-group]: --pids-limit cannot be kept here" in refused.stderr


def test_limits_are_in_no_key_and_ask_for_nothing_where_all_is_found(bench_everyone: Bench) -> None:
    bench_everyone.write("FROM base\nRUN touch /here\n")
    bench_everyone.build()
    again = bench_everyone.build("--memory=64m", "--cpuset-cpus=0", "--cgroup-parent=/not/there")
    assert again.performed == []
    assert not again.entered
