"""Surroundings as CI jobs have them, odd or poor: the build works, or one line says what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench
from worlds.people import Person

DOCKERFILE = "FROM base\nCOPY file /\nRUN cat /file >/copy && chown 33:44 /copy\n"
WORKS = {
    "stdin closed": "exec 0<&-",
    "stdout closed": "exec 1>&-",
    "all streams closed": "exec 0<&- 1>&- 2>&-",
    "stderr on a full disk": "exec 2>/dev/full",
    "no home": "unset HOME",
    "no variables but the store": 'exec env -i PYBUILD_ROOT="$PYBUILD_ROOT" "$@"',
    "no temporary folder": "export TMPDIR=/nonexistent",
    "a runtime folder of the past": "export XDG_RUNTIME_DIR=/run/user/99999",
    "files closed to others": "umask 077",
    "files open to everybody": "umask 000",
    "a locale that is not there": "export LC_ALL=xx_YY.ISO-8859-77",
    "children's ends ignored": "trap '' CHLD PIPE",
    "few descriptors": "ulimit -n 32",
    "little memory": "ulimit -v 300000",
    "a small stack": "ulimit -s 256",
    "a deleted working folder": 'mkdir gone && cd gone && rmdir "$PWD"',
}
FAILS = {
    "ulimit -n 8": ("emfile", "raise the limit of open files: ulimit -n 4096"),
    "ulimit -f 100": ("limit", "raise the limit: ulimit -f unlimited"),
}


def _run(bench: Bench, before: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A build of the Dockerfile in a shell that has done *before*."""
    bench.write(DOCKERFILE, {"file": "hello"})
    (bench.room / "err").touch(mode=0o666)
    bench.pybuild.person.owns(bench.room)
    shell = ("bash", "-c", f'{before}\nexec "$@"', "bash")
    started = replace(bench.pybuild, launch=(*shell, *bench.pybuild.launch))
    line = bench.all_words("--progress=plain", output=f"type=oci,dest={bench.room}/image.tar")
    return started(*line, cwd=bench.room, timeout=120)


@pytest.mark.parametrize("before", WORKS.values(), ids=WORKS)
def test_a_build_works(bench_rootless: Bench, before: str) -> None:
    done = _run(bench_rootless, before)
    assert (done.returncode, "error[" in done.stderr) == (0, False), done.stderr
    assert (bench_rootless.room / "image.tar").stat().st_size > 0


@pytest.mark.parametrize("name", ["children's ends ignored", "few descriptors"])
def test_a_build_of_root_s_works(bench: Bench, name: str) -> None:
    assert _run(bench, WORKS[name]).returncode == 0


@pytest.mark.parametrize("before", FAILS)
def test_a_limit_that_is_too_low_is_named(bench_rootless: Bench, before: str) -> None:
    done = _run(bench_rootless, before)
    code, hint = FAILS[before]
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error[")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error[{code}]: ")
    assert f"\nhint: {hint}\n" in done.stderr


def test_too_few_processes_are_named(bench_rootless: Bench) -> None:
    done = _run(bench_rootless, "ulimit -u 1")
    assert (done.returncode, done.stderr) == (
        1,
        "error[no-processes]: no process can be started: Resource temporarily unavailable\n"
        "hint: raise the limit of processes: ulimit -u, or the container's pids limit\n",
    )


@pytest.mark.parametrize("words", [("images",), ("--help",), ("--version",), ("doctor",)], ids=" ".join)
def test_results_that_cannot_be_written_are_an_error(bench: Bench, words: tuple[str, ...]) -> None:
    shell = ("bash", "-c", 'exec "$@" >/dev/full', "bash")
    done = replace(bench.pybuild, launch=(*shell, *bench.pybuild.launch))(*words, cwd=Path("/"))
    assert (done.returncode, done.stderr) == (
        1,
        "error[output-unwritable]: the results cannot be written: No space left on device\n"
        "hint: standard output leads to where no more can be written: let it lead elsewhere\n",
    )


def test_an_id_without_a_name_builds_where_its_home_is_closed(bench: Bench, require_root: Callable[[], None]) -> None:
    """As OpenShift starts a pod: no entry in passwd(5), root's group, no privileges to be had, HOME=/."""
    require_root()
    nobody = Person(name="1000680000", uid=1000680000, gid=0, home=Path("/"))
    here = replace(bench.pybuild, person=nobody, launch=("setpriv", "--no-new-privs", *bench.pybuild.launch))
    bench.write(DOCKERFILE, {"file": "hello"})
    bench.room.chmod(0o777)
    line = bench.all_words("--progress=plain", output=f"type=oci,dest={bench.room}/image.tar")
    done = here(*line, cwd=bench.room, env={"PYBUILD_ROOT": ""})
    assert (done.returncode, done.stderr) == (
        1,
        "error[store-unwritable]: cannot write /.local/share/pybuild: Permission denied\n"
        "hint: choose a store that you can write to with --root\n",
    )
    done = here(*line, cwd=bench.room)
    assert done.returncode == 0, done.stderr
    assert "note: isolation: overlay, identities: single\n" in done.stderr


@pytest.mark.parametrize(
    ("folder", "missing"), [("/proc", "/proc/self/status"), ("/dev", "/dev/null")], ids=["no proc", "no dev"]
)
def test_a_root_without_the_system_s_folders_is_told_what_it_needs(
    bench: Bench, require_root: Callable[[], None], folder: str, missing: str
) -> None:
    require_root()
    bench.write(DOCKERFILE, {"file": "hello"})
    emptied = ("unshare", "-m", "bash", "-c", f'mount -t tmpfs none {folder}\nexec "$@"', "bash")
    there = replace(bench.pybuild, launch=(*emptied, *bench.pybuild.launch))
    done = there(*bench.all_words("--quiet"), cwd=bench.room)
    assert (done.returncode, done.stderr) == (
        1,
        f"error[no-{folder[1:]}]: {folder} is not as it has to be: there is no {missing}\n"
        f"hint: a chroot needs {folder} mounted: mount --rbind {folder} ROOT{folder}; a container has it by itself\n",
    )


def test_no_other_process_need_be_seen(bench: Bench, require_root: Callable[[], None]) -> None:
    """As where /proc is mounted with hidepid=2."""
    require_root()
    bench.write(DOCKERFILE, {"file": "hello"})
    hiding = ("unshare", "-m", "bash", "-c", 'mount -t proc -o hidepid=2 none /proc\nexec "$@"', "bash")
    there = replace(bench.pybuild, launch=(*hiding, *bench.pybuild.launch))
    assert there(*bench.all_words("--quiet"), cwd=bench.room).returncode == 0
