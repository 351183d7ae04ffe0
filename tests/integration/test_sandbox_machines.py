"""Every machine that can be emulated: its smallest program, run by a real kernel and a real emulator."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from worlds.people import Person, whoever_runs_this
from worlds.sandboxes import MASKED_PROC, as_person

from builder.image.names import Platform
from builder.sandbox import gate
from builder.sandbox.elf import MACHINES
from builder.sandbox.emulation import Emulation
from builder.sandbox.runner import Runner


@pytest.fixture(params=["root", "container root", "ordinary user"])
def person(request: pytest.FixtureRequest) -> tuple[Person, tuple[str, ...]]:
    """Somebody, and what they lack: a container's root has neither CAP_SYS_ADMIN nor a /proc of its own."""
    if request.param == "ordinary user":
        return request.getfixturevalue("ordinary_user"), ()
    if os.geteuid() != 0:
        pytest.skip("not root")
    return whoever_runs_this(), (MASKED_PROC, "CAP_SYS_ADMIN") if request.param == "container root" else ()


def test_all_machines_with_an_emulator_are_ready_at_once(person: tuple[Person, tuple[str, ...]], room: Path) -> None:
    platforms = [
        Platform("linux", machine.architecture)
        for machine in MACHINES.values()
        if shutil.which(f"qemu-{machine.emulator}-static")
    ]
    if not platforms:
        pytest.skip("no emulator is installed")

    def inside(send):
        with Runner() as runner:
            emulation = Emulation(runner, who, platforms, room / "emulation", send)
            for platform in platforms:
                emulation.ready(platform)
        return "done"

    def through():
        notes: list[object] = []
        return gate.call(inside, identity=who, on_message=notes.append), notes

    who = as_person(person[0], lambda: gate.identity(fresh=True), without=person[1])
    done, notes = as_person(person[0], through, without=person[1])
    assert done == "done"
    # The machine's own programs are not emulated, nor those that its kernel runs beside them.
    expected = [one.architecture for one in platforms if one.architecture not in ("amd64", "386", "arm64", "arm")]
    assert set(expected) <= {str(note).split()[2] for note in notes}
    assert all(str(note).endswith("-static") for note in notes)
