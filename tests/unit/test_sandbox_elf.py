"""ELF headers: whose program it is, what the kernel is told to look for, and the smallest program of each machine."""

from __future__ import annotations

import struct

import pytest

from builder.sandbox.elf import HEAD, MACHINES, architecture_of, magic, probe

# What Debian's qemu-user-binfmt has the kernel compare, without the bytes that say nothing of the machine.
KNOWN = {
    "arm64": ("7f454c46020101 000000000000000000 0200b700", "ffffffffffffff 000000000000000000 feffffff"),
    "arm": ("7f454c46010101 000000000000000000 02002800", "ffffffffffffff 000000000000000000 feffffff"),
    "riscv64": ("7f454c46020101 000000000000000000 0200f300", "ffffffffffffff 000000000000000000 feffffff"),
    "ppc64le": ("7f454c46020101 000000000000000000 02001500", "ffffffffffffff 000000000000000000 feffffff"),
    "s390x": ("7f454c46020201 000000000000000000 00020016", "ffffffffffffff 000000000000000000 fffeffff"),
    "amd64": ("7f454c46020101 000000000000000000 02003e00", "ffffffffffffff 000000000000000000 feffffff"),
    "386": ("7f454c46010101 000000000000000000 02000300", "ffffffffffffff 000000000000000000 feffffff"),
}


@pytest.mark.parametrize("architecture", MACHINES)
def test_the_kernel_is_told_the_header_of_each_machine(architecture: str) -> None:
    wanted, mask = (bytes.fromhex(text) for text in KNOWN[architecture])
    assert magic(MACHINES[architecture]) == (wanted, mask)


@pytest.mark.parametrize("architecture", MACHINES)
def test_only_programs_of_the_machine_itself_match(architecture: str) -> None:
    wanted, mask = magic(MACHINES[architecture])

    def matches(program: bytes) -> bool:
        return all(ours & bits == theirs & bits for ours, theirs, bits in zip(program, wanted, mask, strict=False))

    assert [name for name, machine in MACHINES.items() if matches(probe(machine))] == [architecture]
    program = bytearray(probe(MACHINES[architecture]))
    program[7:16] = b"\x03AI\x02\0\0\0\0\0"  # the ABI's name and version, and padding that others use
    assert matches(bytes(program))
    order = MACHINES[architecture].order
    for kind, runs in ((0, False), (1, False), (2, True), (3, True), (4, False)):  # none, object, program, PIE, core
        program[16:18] = struct.pack(f"{order}H", kind)
        assert matches(bytes(program)) == runs


@pytest.mark.parametrize("architecture", MACHINES)
def test_a_program_tells_its_machine(architecture: str) -> None:
    assert architecture_of(probe(MACHINES[architecture])[:HEAD]) == architecture


@pytest.mark.parametrize(
    "head", [b"", b"\x7fELF", b"#!/bin/sh\necho not a program", bytes(20), b"\x7fELF\x02\x01\x01" + bytes(13)]
)
def test_what_is_no_program_of_a_known_machine_has_none(head: bytes) -> None:
    assert architecture_of(head) is None
