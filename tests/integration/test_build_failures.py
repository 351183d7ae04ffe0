"""Builds that fail: one clear error, exit code 1, a sound store, and nothing under its final name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worlds.building import Bench, leftovers
from worlds.processes import free_port

GOOD = "FROM base\nRUN echo good >/good\n"


def _fails(bench: Bench, *words: str | Path, **how: object) -> str:
    """The error of a build that must fail; afterwards the store is as sound as before."""
    target = bench.room / "failed.tar"
    how = {"output": f"type=docker,dest={target}", "env": {}} | how
    done = bench.text(*words, **how)
    assert done.code == 1, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert not target.exists()
    assert not list(bench.room.glob(".failed*"))
    assert leftovers(bench.store) == []
    return done.err[done.err.index("error[") :]


@pytest.fixture
def everyone(bench_everyone: Bench) -> Iterator[Bench]:
    """A bench; at the end it still builds."""
    bench_everyone.write(GOOD, {"file": "content\n"})
    yield bench_everyone
    bench_everyone.write(GOOD)
    bench_everyone.build()


def test_dockerfiles_that_are_not_there_or_wrong(everyone: Bench) -> None:
    bench = everyone
    (bench.context / "Dockerfile").rename(bench.context / "app.Dockerfile")
    assert _fails(bench) == (
        f"error[no-dockerfile]: no Dockerfile: {bench.context}/Dockerfile does not exist\n"
        "hint: name it with --file; there is: app.Dockerfile\n"
    )
    assert _fails(bench, "-f", "nowhere") == (
        "error[no-dockerfile]: no Dockerfile: nowhere does not exist\n"
        "hint: name it with --file; there is: app.Dockerfile\n"
    )
    (bench.context / "Dockerfile").mkdir()
    assert _fails(bench) == f"error[no-dockerfile]: cannot read {bench.context}/Dockerfile: Is a directory\n"
    (bench.context / "Dockerfile").rmdir()
    bench.write("")
    assert _fails(bench) == "error[empty-dockerfile]: the Dockerfile cannot be empty\n  Dockerfile\n"
    bench.write("FROM base\nRUNN true\nCOPYY a b\n")
    assert _fails(bench) == (
        "error[unknown-instruction]: unknown instruction: RUNN\n  Dockerfile:2\n    RUNN true\n    ^^^^\n"
        "hint: did you mean RUN?\n"
        "error[unknown-instruction]: unknown instruction: COPYY\n  Dockerfile:3\n    COPYY a b\n    ^^^^^\n"
        "hint: did you mean COPY?\n"
    )
    bench.write("FROM base\nCOPY --from=nothing /a /b\n")
    assert _fails(bench, "--target=else").startswith("error[unknown-target]")


def test_contexts_that_are_not_there(everyone: Bench) -> None:
    bench = everyone
    assert _fails(bench, context="nowhere") == (
        "error[no-context]: the build context nowhere cannot be opened: No such file or directory\n"
        "hint: name a folder, as in: pybuild .\n"
    )
    assert _fails(bench, context="/dev/null") == (
        "error[no-context]: the build context /dev/null is neither a folder nor a tarball\n"
    )
    assert _fails(bench, context=bench.context / "file") == (
        f"error[no-context]: the build context {bench.context}/file is neither a folder nor a tarball\n"
    )
    bench.write("FROM base\nCOPY fil /\n")
    assert _fails(bench) == (
        'error[source-not-found]: "/fil": not found\n'
        '  Dockerfile:2\n    COPY fil /\n    ^^^^^^^^^^\nhint: did you mean "/file"?\n'
    )


def test_a_context_that_may_not_be_read(bench_rootless: Bench) -> None:
    bench = bench_rootless
    bench.write("FROM base\nCOPY . /all\n", {"closed": "x", "folder/inside": "x"})
    (bench.context / "closed").chmod(0)  # root's, not the user's
    error = _fails(bench)
    assert error.startswith("error[unreadable-source]: ")
    assert "closed" in error
    assert "Permission denied" in error
    # What is ignored need not be read.
    bench.write(files={".dockerignore": "closed\n"})
    bench.build()
    (bench.context / "folder").chmod(0)
    assert "folder" in _fails(bench)
    bench.write(files={".dockerignore": "closed\nfolder\n"})
    bench.build()
    # Nor need what is not copied.
    bench.write("FROM base\nCOPY Dockerfile /\n", {".dockerignore": ""})
    bench.build()


def test_bases_that_cannot_be_had(everyone: Bench) -> None:
    bench = everyone
    port = free_port()
    name = f"localhost:{port}/nowhere:1"
    bench.write(f"FROM {name}\nRUN true\n")
    error = _fails(bench)
    assert error.startswith("error[unreachable]"), error
    assert f"  Dockerfile:1\n    FROM {name}\n" in error
    bench.write("FROM layout\nRUN true\n")
    error = _fails(bench, "--build-context", f"layout=oci-layout://{bench.room}/nothing")
    assert "Dockerfile:1" in error
    assert f"{bench.room}/nothing" in error
    wrong = f"sha256:{'0' * 64}"
    error = _fails(bench, "--build-context", f"layout=oci-layout://{bench.base}@{wrong}")
    assert "Dockerfile:1" in error
    assert wrong in error
    bench.write("FROM not/a//name\n")
    assert _fails(bench).startswith("error[invalid-reference]")


def test_a_base_of_damaged_bytes_is_refused_and_forgotten(everyone: Bench) -> None:
    import json
    import shutil

    bench = everyone
    damaged = bench.room / "damaged"
    shutil.copytree(bench.base, damaged)
    manifest = json.loads((damaged / "index.json").read_text())["manifests"][0]["digest"][7:]
    layer = json.loads((damaged / "blobs/sha256" / manifest).read_text())["layers"][0]
    blob = damaged / "blobs/sha256" / layer["digest"][7:]
    whole = blob.read_bytes()
    bench.write("FROM damaged\nRUN true\n")
    given = ("--build-context", f"damaged=oci-layout://{damaged}")
    for broken in (whole[:-1], whole + b"x", whole[:1000] + b"?" + whole[1001:], b""):
        blob.unlink()
        blob.write_bytes(broken)
        error = _fails(bench, *given)
        assert layer["digest"] in error or "damaged" in error, error
    blob.unlink()
    error = _fails(bench, *given)
    blob.write_bytes(whole)
    bench.build(*given)


def test_a_command_that_fails_is_shown_with_its_end(everyone: Bench) -> None:
    bench = everyone
    bench.write(
        "FROM base AS failing\nRUN echo to stdout; echo to stderr >&2; \\\n    exit 42\nRUN echo never\n",
    )
    assert _fails(bench) == (
        'error[command-failed]: process "/bin/sh -c echo to stdout; echo to stderr >&2;     exit 42" '
        "did not complete successfully: exit code: 42\n"
        "  Dockerfile:2\n"
        "    RUN echo to stdout; echo to stderr >&2; \\\n"
        f"    {'^' * len('RUN echo to stdout; echo to stderr >&2; |')}\n"
    )
    done = bench.text()
    assert done.code == 1
    assert "to stdout" in done.err
    assert "to stderr" in done.err
    assert "never" not in done.err
    bench.write("FROM base\nRUN sh -c 'kill -TERM $$'; exit $?\n")
    assert "exit code: 143" in _fails(bench)
    bench.write('FROM base\nRUN ["/no/such/program"]\n')
    error = _fails(bench)
    assert "/no/such/program" in error
    assert "Dockerfile:2" in error
    bench.write("FROM base\nUSER nobody-here\nRUN true\n")
    assert "nobody-here" in _fails(bench)
    bench.write("FROM scratch\nRUN true\n")
    assert "/bin/sh" in _fails(bench)


@pytest.mark.parametrize("kind", ["docker", "oci", "tar", "local", "oci,tar=false"])
def test_outputs_that_cannot_be_written(bench_rootless: Bench, kind: str) -> None:
    bench = bench_rootless
    bench.write(GOOD)
    closed = bench.room / "closed"
    closed.mkdir()  # root's
    done = bench.text(output=f"type={kind},dest={closed}/out")
    assert done.code == 1
    assert done.err[done.err.index("error[") :].startswith(
        f"error[output-unwritable]: cannot write {closed}/out: Permission denied\n"
    ), done.err
    assert list(closed.iterdir()) == []
    done = bench.text(output=f"type={kind},dest=/dev/full/out")
    assert done.code == 1
    assert "error[output-" in done.err
    done = bench.text("--iidfile", closed / "iid", "--metadata-file", closed / "m")
    assert done.code == 1
    assert f"{closed}/" in done.err


def test_an_output_on_a_full_disk_is_not_there_at_all(bench: Bench, full_disk: Callable[[int], Path]) -> None:
    bench.write("FROM base\nRUN dd if=/dev/urandom of=/noise bs=1M count=4\n")
    disk = full_disk(2)
    for kind in ("docker", "oci", "tar", "local", "oci,tar=false"):
        done = bench.text(output=f"type={kind},dest={disk}/out")
        assert done.code == 1
        assert "error[disk-full]: no space left while writing " in done.err
        assert f"{disk}/out" in done.err
        assert [path.name for path in disk.iterdir()] == [], kind
    # To stdout there is nothing that could be taken back, but it is said.
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*bench.pybuild.launch, *bench.all_words("--progress=plain", output="type=docker,dest=-")],
            env=bench.pybuild.person.environment() | {"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert ended.returncode == 1
    assert b"error[disk-full]: no space left while writing the standard output\n" in ended.stderr


@pytest.fixture
def full_disk(room: Path, require_root: Callable[[], None]) -> Iterator[Callable[[int], Path]]:
    """``full_disk(2)``: a file system of two megabytes."""
    require_root()
    made: list[Path] = []

    def make(megabytes: int) -> Path:
        folder = room / f"disk{len(made)}"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", folder], check=True)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_store_is_one_clear_error_and_no_damage(bench: Bench, full_disk: Callable[[int], Path]) -> None:
    from dataclasses import replace

    disk = full_disk(1 + 8)
    small = replace(bench, pybuild=bench.pybuild.with_store(disk / "store"))
    noise = "dd if=/dev/urandom of=/noise bs=1M count={} 2>/dev/null"
    small.write(f"FROM base\nRUN {noise.format(1)}\n")
    small.build()
    seen = set()
    # Full while a command writes, while a layer is packed, while a file is copied.
    for text in (f"RUN {noise.format(20)}", f"RUN {noise.format(2)}", "COPY noise /"):
        small.write(f"FROM base\n{text}\n")
        if "COPY" in text:
            (small.context / "noise").write_bytes(os.urandom(8 << 20))
        error = _fails(small)
        seen.add(error.split("]")[0])
        assert "No space left" in error or "no space left" in error or "did not complete" in error, error
    small.write(f"FROM base\nRUN {noise.format(1)}\n")
    assert small.build().performed == []
    assert seen == {"error[disk-full", "error[command-failed"}


def test_stores_that_cannot_be_used(bench_rootless: Bench, tmp_path: Path) -> None:
    bench = bench_rootless
    bench.write(GOOD)
    closed = bench.room / "closed"
    closed.mkdir()
    done = bench.text(env={"PYBUILD_ROOT": f"{closed}/store"})
    assert done.code == 1
    assert done.err.startswith(f"error[store-unwritable]: cannot write {closed}/store: Permission denied\n"), done.err
    foreign = bench.room / "foreign"
    foreign.mkdir()
    (foreign / "version").write_text("pybuild store 1\n")
    done = bench.text(env={"PYBUILD_ROOT": str(foreign)})
    assert done.err.startswith(f"error[store-owner]: the store {foreign} belongs to user 0, and you are user "), (
        done.err
    )
    done = bench.text(env={"PYBUILD_ROOT": str(bench.context)})
    assert done.err.startswith(f"error[not-a-store]: {bench.context} is not empty and holds no store: "), done.err
    done = bench.text(env={"PYBUILD_ROOT": "/dev/null"})
    assert done.err.startswith("error[not-a-store]: /dev/null is not a folder\n"), done.err


def test_no_home_is_no_problem_where_the_store_is_named(bench_rootless: Bench) -> None:
    bench = bench_rootless
    bench.write(GOOD)
    for environment in ({"HOME": ""}, {"HOME": "/nonexistent"}, {"HOME": "", "USER": "", "PATH": "/usr/bin:/bin"}):
        bench.build("--no-cache", env=environment)
    done = bench.text(env={"PYBUILD_ROOT": "", "HOME": "/nonexistent", "XDG_DATA_HOME": ""})
    assert done.code == 1
    assert done.err.startswith("error[store-unwritable]: cannot write /nonexistent/.local/share/pybuild: "), done.err


def test_a_store_that_may_only_be_read(bench: Bench, require_root: Callable[[], None]) -> None:
    require_root()
    bench.write(GOOD)
    bench.build(output=f"type=docker,dest={bench.room}/one.tar")
    subprocess.run(["mount", "--bind", bench.store, bench.store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", bench.store], check=True)
        done = bench.text(output=f"type=docker,dest={bench.room}/two.tar")
        assert done.code == 1
        assert done.err.startswith(f"error[store-unwritable]: cannot use the store {bench.store}: not writable\n"), (
            done.err
        )
    finally:
        subprocess.run(["umount", bench.store], check=True)


def test_without_namespaces_it_is_said_what_could_be_done(bench_rootless: Bench, require: Callable[..., None]) -> None:
    require("bwrap")
    bench = bench_rootless
    bench.write(GOOD)
    jail = ["bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--"]
    done = bench.pybuild.person.run(
        [*jail, *bench.pybuild.launch, *bench.all_words("--progress=plain")],
        env={"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        cwd=bench.room,
    )
    assert done.returncode == 1
    error = done.stderr[done.stderr.index("error[") :]
    assert "hint: " in error
    assert "Traceback" not in done.stderr
    assert leftovers(bench.store) == []
    bench.build()


def test_a_wrong_command_line_is_exit_code_2(bench: Bench) -> None:
    bench.write(GOOD)
    for words in (("--no-such-option",), ("-o", "type=nothing"), ("--platform", "a/b/c/d"), ("-t", "UPPER CASE")):
        done = bench.text(*words)
        assert done.code == 2, words
        assert done.err.startswith("error["), words
        assert "Traceback" not in done.err
    for kind in ("cacheonly", "local,dest=out"):
        done = bench.text("--iidfile", "id", output=f"type={kind}")
        assert done.code == 2
        assert done.err.startswith("error[invalid-value]: --iidfile does not go with --output type="), done.err


def test_who_reads_our_output_may_go_away(bench: Bench) -> None:
    bench.write("FROM base\nRUN dd if=/dev/zero of=/zeros bs=1M count=30 2>/dev/null\n")
    words = " ".join(f"'{word}'" for word in (*bench.pybuild.launch, *bench.all_words(output="type=tar,dest=-")))
    done = bench.pybuild.person.run(
        ["sh", "-c", f"{words} | head -c 1000 >/dev/null"],
        env={"PYBUILD_ROOT": str(bench.store), **bench.pybuild.environment},
        cwd=bench.room,
    )
    assert "error[output-closed]: whoever read the standard output went away before the end\n" in done.stderr
    assert leftovers(bench.store) == []
