"""Machines: which one this is, and what an ELF file's first bytes say about the one that it is for.

source   elf(5); System V gABI, "ELF Header"; linux, include/uapi/linux/elf-em.h for the numbers of machines
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from builder.image.names import Platform

HEAD = 20
"""Bytes up to the end of e_machine."""

_IDENT = b"\x7fELF"
_BASE = 0x10000  # where the probe lies: above every vm.mmap_min_addr, and aligned for pages of 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One architecture, as images call it.

    emulator  how qemu calls it: its programs are ``qemu-NAME`` and ``qemu-NAME-static``
    bits      32 or 64;  little  the byte order;  number  e_machine
    probe     instructions that exit with argc, which lies on top of the stack when a program begins
    """

    architecture: str
    emulator: str
    bits: int
    little: bool
    number: int
    probe: bytes

    @property
    def order(self) -> str:
        """The byte order, as ``struct`` writes it."""
        return "<" if self.little else ">"

    @property
    def ident(self) -> bytes:
        """The identification: magic, class, byte order, version."""
        return _IDENT + bytes([self.bits // 32, 1 if self.little else 2, 1])


def _words(order: str, *instructions: int) -> bytes:
    return struct.pack(f"{order}{len(instructions)}I", *instructions)


# Each: load argc, the number of exit(2), and the call. source: syscall(2), "Architecture calling conventions"
MACHINES = {
    machine.architecture: machine
    for machine in (
        Machine(
            architecture="amd64",
            emulator="x86_64",
            bits=64,
            little=True,
            number=62,
            probe=bytes.fromhex("8b3c24 b83c000000 0f05"),  # mov edi,[rsp]; mov eax,60; syscall
        ),
        Machine(
            architecture="386",
            emulator="i386",
            bits=32,
            little=True,
            number=3,
            probe=bytes.fromhex("8b1c24 b801000000 cd80"),  # mov ebx,[esp]; mov eax,1; int 0x80
        ),
        Machine(
            architecture="arm64",
            emulator="aarch64",
            bits=64,
            little=True,
            number=183,
            probe=_words("<", 0xF94003E0, 0xD2800BA8, 0xD4000001),  # ldr x0,[sp]; mov x8,93; svc 0
        ),
        Machine(
            architecture="arm",
            emulator="arm",
            bits=32,
            little=True,
            number=40,
            probe=_words("<", 0xE59D0000, 0xE3A07001, 0xEF000000),  # ldr r0,[sp]; mov r7,1; svc 0
        ),
        Machine(
            architecture="riscv64",
            emulator="riscv64",
            bits=64,
            little=True,
            number=243,
            probe=_words("<", 0x00013503, 0x05D00893, 0x00000073),  # ld a0,0(sp); li a7,93; ecall
        ),
        Machine(
            architecture="ppc64le",
            emulator="ppc64le",
            bits=64,
            little=True,
            number=21,
            probe=_words("<", 0xE8610000, 0x38000001, 0x44000002),  # ld r3,0(r1); li r0,1; sc
        ),
        Machine(
            architecture="s390x",
            emulator="s390x",
            bits=64,
            little=False,
            number=22,
            probe=bytes.fromhex("e320f0000004 0a01"),  # lg r2,0(r15); svc 1
        ),
    )
}


def this_machine() -> Platform:
    """The platform whose programs the kernel runs by itself."""
    return Platform.normalised("linux", os.uname().machine)


def architecture_of(head: bytes) -> str | None:
    """The architecture of the program that begins with *head*; None for no ELF file, or a machine not known here."""
    for machine in MACHINES.values():
        if head[:7] == machine.ident and head[18:HEAD] == struct.pack(f"{machine.order}H", machine.number):
            return machine.architecture
    return None


def magic(machine: Machine) -> tuple[bytes, bytes]:
    """The bytes that all programs for *machine* begin with, and the mask of the bits that count.

    The ABI's name and version and the padding (bytes 7 to 15) say nothing about the machine; e_type is ET_EXEC (2) or
    ET_DYN (3), one bit apart.
    """
    kind, machine_number = (struct.pack(f"{machine.order}H", value) for value in (2, machine.number))
    kinds = struct.pack(f"{machine.order}H", 0xFFFE)
    return machine.ident + bytes(9) + kind + machine_number, b"\xff" * 7 + bytes(9) + kinds + b"\xff\xff"


def probe(machine: Machine) -> bytes:
    """A whole program for *machine*, of less than 200 bytes, that exits with the number of its arguments."""
    wide = machine.bits == 64
    header, segment = (64, 56) if wide else (52, 32)
    start = header + segment
    size = start + len(machine.probe)
    # ppc64le: e_flags 2 is the ABI whose entry is code, not a descriptor of it. arm: EABI version 5.
    flags = {"ppc64le": 2, "arm": 0x05000000}.get(machine.architecture, 0)
    word = "Q" if wide else "I"
    elf = machine.ident.ljust(16, b"\0") + struct.pack(
        f"{machine.order}HHI{word}{word}{word}IHHHHHH",
        *(2, machine.number, 1, _BASE + start, header, 0, flags, header, segment, 1, 0, 0, 0),
    )
    read_and_execute = 5
    if wide:
        fields = (1, read_and_execute, 0, _BASE, _BASE, size, size, 0x10000)
        program = struct.pack(f"{machine.order}IIQQQQQQ", *fields)
    else:
        program = struct.pack(f"{machine.order}IIIIIIII", 1, 0, _BASE, _BASE, size, size, read_and_execute, 0x10000)
    return elf + program + machine.probe
