"""What a command may use: docker's options as values, and as the files of its control group."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from builder.cli.limits import limits, options
from builder.cli.options import parse
from builder.errors import UsageError
from builder.sandbox.groups.limits import Limits, numbers, weight


def asked(*words: str) -> Limits:
    """Limits of which none holds, where there are none."""
    return limits(parse("run", options(run=True), words), processors=4) or Limits()


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        asked(*words)
    return caught.value.message


def test_nothing_is_limited_by_default() -> None:
    for words in ((), ("--memory", "0"), ("--memory-swap", "-1"), ("--pids-limit", "-1")):
        assert limits(parse("run", options(run=True), words), processors=4) is None


@pytest.mark.parametrize(
    ("words", "files"),
    [
        # docker run reference: memory and swap together are twice the memory where nothing is said
        (["-m", "64m"], {"memory.max": "67108864", "memory.swap.max": "67108864"}),
        (["-m64m", "--memory-swap=64m"], {"memory.max": "67108864", "memory.swap.max": "0"}),
        (["-m", "64m", "--memory-swap", "1g"], {"memory.max": "67108864", "memory.swap.max": "1006632960"}),
        (["-m", "64m", "--memory-swap", "-1"], {"memory.max": "67108864", "memory.swap.max": "max"}),
        (["--memory-swap", "-1"], {}),
        (["-m", "0"], {}),
        (["-m", "1g", "--memory-reservation", "6m"], {"memory.low": "6291456", "memory.max": "1073741824"}),
        (["-c", "1024"], {"cpu.weight": "100"}),
        (["-c", "0"], {}),
        (["-c", "1"], {"cpu.weight": "1"}),
        (["-c", "1000000"], {"cpu.weight": "10000"}),
        (["--cpu-quota", "50000"], {"cpu.max": "50000 100000"}),
        (["--cpu-quota", "50000", "--cpu-period", "25000"], {"cpu.max": "50000 25000"}),
        (["--cpu-quota", "-1"], {}),
        (["--cpu-period", "25000"], {"cpu.max": "max 25000"}),
        (["--cpus", "1.5"], {"cpu.max": "150000 100000"}),
        (["--cpus", ".01"], {"cpu.max": "1000 100000"}),
        (["--cpus", "0"], {}),
        (["--cpuset-cpus", "0-2,4", "--cpuset-mems", "0"], {"cpuset.cpus": "0-2,4", "cpuset.mems": "0"}),
        (["--pids-limit", "100"], {"pids.max": "100"}),
        (["--pids-limit", "-1"], {}),
        (["--pids-limit", "0"], {}),
    ],
)
def test_what_is_asked_for_is_written_as_runc_writes_it(words: Sequence[str], files: dict[str, str]) -> None:
    found = asked(*words)
    written = {name: value for name, value in found.files() if name in files or value not in ("max",)}
    if "memory.low" in files:
        written.pop("memory.swap.max")
    assert written == files
    assert found.controllers == {name.partition(".")[0] for name in files}
    assert bool(found.options) == bool(files)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "4m"], "--memory '4m': the minimum memory limit allowed is 6MB"),
        (["-m", "-1"], "--memory '-1' is not a size"),
        (["--memory-reservation", "4m"], "--memory-reservation '4m': the minimum memory reservation allowed is 6MB"),
        (
            ["--memory-swap", "64m"],
            "--memory-swap: you should always set the memory limit when using the memoryswap limit",
        ),
        (
            ["-m", "64m", "--memory-swap", "32m"],
            "--memory-swap: the memoryswap limit, which includes the memory, should be larger than the memory limit",
        ),
        (
            ["-m", "64m", "--memory-reservation", "65m"],
            "--memory: the minimum memory limit can not be less than the memory reservation limit",
        ),
        (["-c", "-2"], "--cpu-shares '-2': shares: invalid argument"),
        (["-c", "many"], "--cpu-shares 'many' is not a number"),
        (["-c", "1" * 400], f"--cpu-shares '{'1' * 400}' is not a number"),
        (
            ["--cpu-period", "999"],
            "--cpu-period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (["--cpu-quota", "999"], "--cpu-quota can not be less than 1ms (i.e. 1000)"),
        (["--cpus", "1", "--cpu-period", "1000"], "conflicting options: --cpus and --cpu-period cannot both be set"),
        (["--cpus", "1", "--cpu-quota", "1000"], "conflicting options: --cpus and --cpu-quota cannot both be set"),
        (
            ["--cpus", "5"],
            "--cpus '5': range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            ["--cpus", "0.001"],
            "--cpus '0.001': range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (["--cpus", "."], "--cpus '.' is not a number of processors"),
        (["--cpuset-cpus", "2-1"], "--cpuset-cpus: invalid value '2-1' for cpuset cpus"),
        (["--cpuset-cpus", "0-99999999999"], "--cpuset-cpus: invalid value '0-99999999999' for cpuset cpus"),
        (["--cpuset-mems", "a"], "--cpuset-mems: invalid value 'a' for cpuset mems"),
        (["--cgroup-parent", "/a/../.."], "--cgroup-parent '/a/../..' is no path of a control group"),
        (
            ["--cgroup-parent", "a.slice:b:"],
            "--cgroup-parent 'a.slice:b:' asks systemd to make the group, and pybuild makes it itself",
        ),
    ],
)
def test_what_docker_refuses_is_refused(words: Sequence[str], message: str) -> None:
    assert refused(*words) == message


def test_the_least_the_usual_and_the_most_shares_are_the_least_the_usual_and_the_most_weight() -> None:
    assert [weight(shares) for shares in (2, 1024, 1 << 18)] == [1, 100, 10000]
    rising = [weight(2 << power) for power in range(18)]
    assert rising == sorted(set(rising))


@pytest.mark.parametrize("text", ["1,", ",", "-1", "1-", "1--2", "1-2-3", "0x1", "٣", "9000", "1 2"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        numbers(text)


def test_a_list_is_its_numbers() -> None:
    assert numbers("0-2,4\n") == {0, 1, 2, 4}
    assert numbers("") == frozenset()


@pytest.mark.parametrize(
    ("text", "path"), [("a/b", "/a/b"), ("//a/./b/", "/a/b"), ("/", "/"), ("my.slice", "/my.slice")]
)
def test_a_parent_is_a_path_from_the_top(text: str, path: str) -> None:
    found = asked("--cgroup-parent", text)
    assert found.parent == path
    assert found.options == ("--cgroup-parent",)
    assert found.controllers == frozenset()


def test_errors_name_the_options_that_were_given() -> None:
    assert asked("-m", "1g", "--cpus", "1", "--cgroup-parent", "/x").options == (
        "--memory",
        "--cpu-period",
        "--cpu-quota",
        "--cgroup-parent",
    )
