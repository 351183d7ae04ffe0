"""How programs of other machines get to run, and what is said where they do not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from builder.errors import CommandFailed, HostError
from builder.image.names import Platform
from builder.sandbox import emulation, identity
from builder.sandbox.command import Command, ExitStatus
from builder.sandbox.elf import MACHINES
from builder.sandbox.emulation import Emulation, registration
from builder.sandbox.identity import Identity
from builder.sandbox.runner import Done, Runner

AMD64, ARM64, I386 = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "386")
QEMU = "/usr/bin/qemu-aarch64-static"
REFUSED = "commands for linux/arm64 cannot be run on this linux/amd64 machine: "


@dataclass
class Machine:
    """An amd64 machine whose kernel and programs are told: a Runner that runs probes alone."""

    folder: Path
    installed: set[str] = field(default_factory=set)
    registered: list[bytes] = field(default_factory=list)  # what the table holds, as it was written
    runs: Callable[[Machine], int | str] = lambda _: "exec format error"  # a probe's exit code, or why it did not start
    probes: int = 0
    notes: list[str] = field(default_factory=list)

    def run(self, command: Command, *, output: Any) -> Done:
        assert command.argv == ("/probe",)
        self.probes += 1
        answer = self.runs(self)
        if isinstance(answer, str):
            raise CommandFailed(f'exec "/probe": {answer}', code="command-not-runnable", exit_code=126)
        return Done(status=ExitStatus(code=answer), stubs=())

    def emulation(self, *wanted: Platform, kind: str = "subid") -> Emulation:
        who = Identity(kind=kind, key="k")
        return Emulation(cast(Runner, self), who, wanted, self.folder, self.notes.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)

    def write(path: Path, data: bytes) -> None:
        if path.name == "register":
            found.registered.append(data)
        else:
            assert (path.name, data) == (found.registered.pop().decode().split(":")[1], b"-1")

    monkeypatch.setattr(emulation, "this_machine", lambda: AMD64)
    monkeypatch.setattr(emulation, "find_program", lambda name: f"/usr/bin/{name}" if name in found.installed else None)
    monkeypatch.setattr(emulation.syscalls, "mount", lambda *_: None)
    monkeypatch.setattr(emulation, "_write", write)
    return found


def refused(machine: Machine, *wanted: Platform, **how: Any) -> tuple[str, str, str | None]:
    with pytest.raises(HostError) as caught:
        machine.emulation(*(wanted or (ARM64,)), **how).ready((wanted or (ARM64,))[0])
    return caught.value.code, caught.value.message, caught.value.hint


def test_the_registration_is_the_line_that_the_kernel_reads() -> None:
    line = registration("pybuild-arm64", MACHINES["arm64"], QEMU, "PCF")
    assert line.decode().replace("\\x", "") == (
        ":pybuild-arm64:M::7f454c460201010000000000000000000200b700:ffffffffffffff000000000000000000feffffff:"
        "/usr/bin/qemu-aarch64-static:PCF"
    )


def test_an_installed_emulator_is_registered_once(machine: Machine) -> None:
    machine.installed = {"qemu-aarch64-static"}
    machine.runs = lambda there: 1 if there.registered else "exec format error"
    ready = machine.emulation(ARM64)
    ready.ready(ARM64)
    ready.ready(ARM64)
    ready.ready(Platform("linux", "arm64", "v8.1"))
    assert machine.registered == [registration("pybuild-arm64", MACHINES["arm64"], QEMU, "PCF")]
    assert machine.probes == 1
    assert machine.notes == [f"programs for arm64 are run by {QEMU}"]


def test_the_machine_s_own_programs_need_nothing(machine: Machine) -> None:
    machine.emulation(ARM64).ready(AMD64)
    machine.emulation(ARM64).ready(Platform("linux", "amd64", "v3"))
    assert machine.probes == 0


def test_an_emulator_that_takes_argv0_for_an_argument_gets_none(machine: Machine) -> None:
    machine.installed = {"qemu-aarch64-static"}
    # It sees one argument too many where the kernel adds argv[0].
    machine.runs = lambda there: 2 if b":PCF" in there.registered[-1] else 1
    machine.emulation(ARM64).ready(ARM64)
    assert machine.registered == [registration("pybuild-arm64", MACHINES["arm64"], QEMU, "CF")]


def test_the_second_emulator_is_tried_where_the_first_does_not_work(machine: Machine) -> None:
    machine.installed = {"qemu-aarch64-static", "qemu-aarch64"}
    machine.runs = lambda there: 132 if b"-static" in there.registered[-1] else 1
    machine.emulation(ARM64).ready(ARM64)
    assert machine.notes == ["programs for arm64 are run by /usr/bin/qemu-aarch64"]
    assert len(machine.registered) == 1


def test_what_the_kernel_runs_by_itself_is_not_emulated(machine: Machine) -> None:
    machine.installed = {"qemu-i386-static"}
    machine.runs = lambda _: 1
    machine.emulation(I386).ready(I386)
    assert machine.registered == []


def test_where_no_emulator_is_installed_the_host_s_is_used(machine: Machine) -> None:
    machine.runs = lambda _: 1
    machine.emulation(ARM64).ready(ARM64)
    assert machine.notes == ["programs for arm64 are run by the host's emulator"]


def test_a_table_of_our_own_must_do_for_all_platforms_of_the_build(machine: Machine) -> None:
    """It hides the host's: with one emulator of two, both are left to the host."""
    machine.installed = {"qemu-aarch64-static"}
    machine.runs = lambda _: 1
    riscv = Platform("linux", "riscv64")
    ready = machine.emulation(ARM64, riscv, I386)
    ready.ready(ARM64)
    ready.ready(riscv)
    assert machine.registered == []
    assert len(machine.notes) == 2


def test_neither_an_emulator_nor_a_handler(machine: Machine) -> None:
    assert refused(machine) == (
        "no-emulator",
        REFUSED + "qemu-aarch64-static is not installed; the host runs none: exec format error",
        "install the package qemu-user-static (from Debian 13 on: qemu-user)",
    )


def test_a_kernel_without_tables_for_user_namespaces(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "mount: Operation not permitted")

    machine.installed = {"qemu-aarch64-static"}
    monkeypatch.setattr(emulation.syscalls, "mount", refuse)
    assert refused(machine) == (
        "emulator-failed",
        REFUSED + "an emulator can be registered for this build alone since Linux 6.7 (mount: Operation not permitted);"
        " the host runs none: exec format error",
        "have the host's administrator register an emulator for them (package qemu-user-static or qemu-user-binfmt)",
    )


def test_the_host_s_table_is_never_written(machine: Machine) -> None:
    machine.installed = {"qemu-aarch64-static"}
    code, message, _ = refused(machine, kind="root")
    assert (code, machine.registered) == ("emulator-failed", [])
    assert message.startswith(REFUSED + "without a user namespace no emulator can be registered for this build alone;")


def test_an_emulator_that_does_not_work_is_named_and_unregistered(machine: Machine) -> None:
    machine.installed = {"qemu-aarch64"}
    machine.runs = lambda _: "no such file or directory"  # it is not static, and its linker is not in the root
    assert refused(machine) == (
        "emulator-failed",
        REFUSED + "/usr/bin/qemu-aarch64 does not work: no such file or directory",
        "install the package qemu-user-static (from Debian 13 on: qemu-user)",
    )
    assert machine.registered == []


def test_what_cannot_be_emulated_at_all(machine: Machine) -> None:
    assert refused(machine, Platform("linux", "wasm")) == (
        "foreign-platform",
        "commands for linux/wasm cannot be run on this linux/amd64 machine",
        "what can be emulated: amd64, 386, arm64, arm, riscv64, ppc64le, s390x",
    )
    assert refused(machine, Platform("windows", "amd64")) == (
        "foreign-platform",
        "commands for windows/amd64 cannot be run on Linux",
        None,
    )


def test_root_takes_a_user_namespace_where_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(identity, "_effective_capabilities", lambda: (1 << 41) - 1)
    monkeypatch.setattr(identity, "_extents", lambda _: [(0, 0, 4294967295)])
    assert identity.identity() == Identity(kind="root", key="root")
    fresh = identity.identity(fresh=True)
    # All ids are themselves, so that trees of one are the other's: the key is the same.
    assert (fresh.kind, fresh.key) == ("own", "root")
    assert [str(part) for part in (*fresh.uids, *fresh.gids)] == ["0 0 4294967295"] * 2
    assert identity.identity("none", fresh=True).kind == "root"
    monkeypatch.setattr(identity, "_effective_capabilities", lambda: 0)
    assert identity.identity(fresh=True).key == "own"
