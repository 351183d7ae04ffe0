"""Where no namespace is granted at all: what only copies is built, and a command ends in one line with the mend."""

from __future__ import annotations

import stat
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from worlds.building import Bench

# What a container's profile does: new namespaces are refused, and clone3 is unknown.
REFUSING = """\
import os, struct, sys
sys.path.insert(0, sys.argv.pop(1))
from native import constants, syscalls
from native.constants import CLONE_NEWNS, CLONE_NEWUSER, NUMBERS
load, equal, any_bit, end = 0x20, 0x15, 0x45, 0x06
steps = [
    (load, 0, 0, 0), (equal, 0, 3, NUMBERS[os.uname().machine]["clone"]), (load, 0, 0, 16),
    (any_bit, 0, 1, CLONE_NEWUSER | CLONE_NEWNS), (end, 0, 0, constants.SECCOMP_RET_ERRNO | 1),
    (load, 0, 0, 0), (equal, 0, 1, 435), (end, 0, 0, constants.SECCOMP_RET_ERRNO | 38),
    (end, 0, 0, constants.SECCOMP_RET_ALLOW),
]
syscalls.prctl(constants.PR_SET_NO_NEW_PRIVS, 1)
syscalls.seccomp(b"".join(struct.pack("=HBBI", *step) for step in steps))
os.execvp(sys.argv[1], sys.argv[1:])
"""

COPIES = """\
FROM base AS one
COPY --chown=33:44 file /opt/x/
COPY --chown=5 --chmod=4755 file /opt/suid
WORKDIR /opt/y
FROM base
COPY --from=one /opt /copied
COPY --chown={own} file /mine
ENV a=b
"""


@pytest.fixture
def bare(bench_rootless: Bench) -> Bench:
    """The ordinary user's bench where namespaces are refused."""
    pybuild = bench_rootless.pybuild
    checkout = pybuild.environment.get("PYTHONPATH") or str(Path(__file__).parents[2])
    python = pybuild.launch[0] if pybuild.environment else sys.executable
    launch = (python, "-c", REFUSING, checkout, *pybuild.launch)
    return replace(bench_rootless, pybuild=replace(pybuild, launch=launch))


def test_copies_need_no_namespace_and_owners_are_kept(bare: Bench) -> None:
    person = bare.pybuild.person
    bare.write(COPIES.format(own=f"{person.uid}:{person.gid}"), {"file": "content\n"})
    built, image = bare.image()
    assert [one["text"] for one in built.named("note") if "identities" in one["text"]] == [
        "isolation: copy, identities: bare"
    ]
    copied = image.members(1)
    assert (copied["copied/x/file"].uid, copied["copied/x/file"].gid) == (33, 44)
    assert (copied["copied/suid"].uid, copied["copied/suid"].mode) == (5, 0o4755)
    assert (copied["copied/y"].uid, copied["copied/y"].type) == (0, tarfile.DIRTYPE)
    mine = image.members(2)["mine"]
    assert (mine.uid, mine.gid) == (person.uid, person.gid)
    assert stat.S_IMODE(mine.mode) == 0o644
    again = bare.build()
    assert again.performed == []


def test_a_command_ends_in_one_line_that_names_the_mend(bare: Bench) -> None:
    bare.write("FROM base\nCOPY <<EOF /file\ntext\nEOF\nRUN true\n")
    failed = bare.build(check=False)
    assert failed.code == 1
    assert failed.error["code"] == "user-namespaces-refused"
    assert failed.error["message"] == "user namespaces are refused here, most likely by the container's seccomp profile"
    assert failed.error["where"].startswith("Dockerfile:5\n  RUN true")
    assert "podman's default one" in failed.error["hint"]
