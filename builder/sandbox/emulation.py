"""Programs of other machines: run by qemu, which the kernel starts for them.

The kernel looks such programs up in a table, binfmt_misc. Since Linux 6.7 a user namespace may have a table of its own,
which ends with it: that one is written here, and no privilege is needed for it. The host's own is never written; where
no table can be had, or no emulator is installed, it is used as it is found. Whether programs run is told by running
one, in an empty root and with all that a command is given.

source   linux, Documentation/admin-guide/binfmt-misc.rst
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from builder.errors import CommandFailed, HostError
from builder.image.names import Platform
from builder.sandbox.command import Command, Extra
from builder.sandbox.elf import MACHINES, Machine, magic, probe, this_machine
from builder.sandbox.identity import Identity, find_program
from builder.sandbox.runner import Runner
from native import syscalls
from native.mounts import Mount

# F: the emulator is opened now, so that it need not be in the root. C: setuid bits count as they do for programs of
# this machine (it implies O). P: the program is told its argv[0], not its path; emulators since 2021 understand.
_FLAGS = ("PCF", "CF")
# The kernel runs the first on the second, if it is configured to.
_COMPATIBLE = (("386", "amd64"), ("arm", "arm64"))

_INSTALL = "install the package qemu-user-static (from Debian 13 on: qemu-user)"
_REGISTER = "have the host's administrator register an emulator for them (package qemu-user-static or qemu-user-binfmt)"


class Emulation:
    """Sees to it that the commands of other platforms run. Thread-safe; to be made and used behind the gate.

    who      the identity behind the gate: one without a user namespace has no table but the host's
    wanted   all platforms that will be asked for: a table of our own hides the host's, so it must do for all of them
    folder   for mounts that nobody else sees; made when it is needed
    note     is told how programs are run
    """

    def __init__(
        self, runner: Runner, who: Identity, wanted: Collection[Platform], folder: Path, note: Callable[[str], None]
    ) -> None:
        self._runner = runner
        self._may_register = who.kind not in ("root", "chroot")
        self._wanted = {platform.architecture for platform in wanted}
        self._folder = folder
        self._note = note
        self._lock = threading.Lock()
        self._machine = this_machine()
        self._ready = {self._machine.architecture}
        self._table: Path | None = None

    def ready(self, platform: Platform) -> None:
        """Have commands of *platform* run from now on.

        raises   HostError ``foreign-platform``, ``no-emulator``, ``emulator-failed``
        """
        if platform.os != "linux":
            raise HostError(f"commands for {platform} cannot be run on Linux", code="foreign-platform")
        with self._lock:
            if platform.architecture in self._ready:
                return
            machine = MACHINES.get(platform.architecture)
            if machine is None:
                raise HostError(
                    f"commands for {platform} cannot be run on this {self._machine} machine",
                    code="foreign-platform",
                    hint=f"what can be emulated: {', '.join(MACHINES)}",
                )
            self._find_way(machine)
            self._ready.add(machine.architecture)

    def _find_way(self, machine: Machine) -> None:
        compatible = (machine.architecture, self._machine.architecture) in _COMPATIBLE
        if compatible and self._runs(machine) == "":
            return
        failures = self._register(machine)
        if failures is None:
            return
        if self._table is None:
            trouble = self._runs(machine)
            if trouble == "":
                self._note(f"programs for {machine.architecture} are run by the host's emulator")
                return
            failures.append(f"the host runs none: {trouble}")
        raise self._impossible(machine, failures)

    def _impossible(self, machine: Machine, failures: list[str]) -> HostError:
        what = f"commands for linux/{machine.architecture} cannot be run on this {self._machine} machine"
        installed = next(_emulators(machine), None)
        return HostError(
            f"{what}: {'; '.join(failures)}",
            code="emulator-failed" if installed else "no-emulator",
            hint=_REGISTER if installed and not self._table else _INSTALL,
        )

    def _register(self, machine: Machine) -> list[str] | None:
        """Register the first emulator that works; what failed, if none does."""
        programs = list(_emulators(machine))
        if not programs:
            return [f"qemu-{machine.emulator}-static is not installed"]
        if not self._may_register:
            return ["without a user namespace no emulator can be registered for this build alone"]
        if lacking := [name for name in sorted(self._wanted) if not self._can_emulate(name)]:
            return [f"no emulator is installed for {', '.join(lacking)}, which this build needs too"]
        try:
            table = self._own_table()
        except OSError as error:
            return [f"an emulator can be registered for this build alone since Linux 6.7 ({error.strerror})"]
        failures = []
        for program in programs:
            for flags in _FLAGS:
                try:
                    trouble = self._try(table, machine, program, flags)
                except OSError as error:
                    trouble = error.strerror or "refused"
                if trouble == "":
                    self._note(f"programs for {machine.architecture} are run by {program}")
                    return None
            failures.append(f"{program} does not work: {trouble}")
        return failures

    def _can_emulate(self, architecture: str) -> bool:
        if architecture in self._ready or (architecture, self._machine.architecture) in _COMPATIBLE:
            return True
        machine = MACHINES.get(architecture)
        return machine is not None and any(True for _ in _emulators(machine))

    def _own_table(self) -> Path:
        """Where the namespace's own table is mounted. raises OSError before Linux 6.7."""
        if self._table is None:
            table = self._folder / "binfmt_misc"
            table.mkdir(mode=0o700, parents=True, exist_ok=True)
            syscalls.mount("binfmt_misc", table, "binfmt_misc")
            self._table = table
        return self._table

    def _try(self, table: Path, machine: Machine, program: str, flags: str) -> str:
        """Register *program*; empty if programs run now, else it is unregistered again, and why."""
        entry = f"pybuild-{machine.architecture}"
        _write(table / "register", registration(entry, machine, program, flags))
        trouble = self._runs(machine)
        if trouble:
            _write(table / entry, b"-1")
        return trouble

    def _runs(self, machine: Machine) -> str:
        """Empty if a program for *machine* runs as a command would, else how it failed."""
        root = self._folder / "root"
        command = Command(
            root=(Mount(kind="tmpfs", target=root, options=("size=1m", "mode=755")),),
            root_path=root,
            argv=("/probe",),
            env=(),
            extras=(Extra(target="/probe", kind="file", content=probe(machine), mode=0o755),),
        )
        said = bytearray()
        try:
            status = self._runner.run(command, output=lambda _, data: said.extend(data[:200])).status
        except CommandFailed as error:
            return error.message.rpartition(": ")[2]
        if status.code == 1:
            return ""
        lines = said.decode(errors="replace").splitlines()
        return lines[-1] if lines else f"exit code {status.code}"


def registration(entry: str, machine: Machine, program: str, flags: str) -> bytes:
    """The line that has *program* run all programs for *machine*. source: binfmt-misc.rst."""
    wanted, mask = (b"".join(b"\\x%02x" % byte for byte in text) for text in magic(machine))
    return b":%s:M::%s:%s:%s:%s" % (entry.encode(), wanted, mask, os.fsencode(program), flags.encode())


def _emulators(machine: Machine) -> Iterator[str]:
    """Paths of what may emulate *machine*; of the second it is not sure that it is static, as it must be."""
    for name in (f"qemu-{machine.emulator}-static", f"qemu-{machine.emulator}"):
        path = find_program(name)
        if path is not None:
            yield path


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
