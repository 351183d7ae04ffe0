"""The memory of other processes: read and written in both ways, which say the same of what is not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import HostError
from builder.sandbox.supervision.memories import Memories
from native import syscalls
from native._kernel import ffi

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def proc() -> Iterator[int]:
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["process_vm_readv", "/proc/PID/mem"])
def memories(request: pytest.FixtureRequest, proc: int, monkeypatch: pytest.MonkeyPatch) -> Memories:
    if request.param == "/proc/PID/mem":

        def refused(*_: object) -> bytes:
            raise OSError(errno.EPERM, "refused")

        monkeypatch.setattr(syscalls.Memory, "read", refused)
        monkeypatch.setattr(syscalls.Memory, "write", refused)
    return Memories(proc)


def _ours(data: bytes) -> tuple[object, int]:
    buffer = ffi.new("char[]", data)
    return buffer, int(ffi.cast("uintptr_t", buffer))


def _code(error: pytest.ExceptionInfo[OSError]) -> str:
    return errno.errorcode[error.value.errno or 0]


def test_a_text_ends_at_its_nul_or_is_too_long(memories: Memories) -> None:
    for length in (0, 1, PAGE - 1, 4094, 4095):
        _held, address = _ours(b"x" * length)
        assert memories.text(os.getpid(), address) == b"x" * length
    for length in (4096, 5000, 9000):
        _held, address = _ours(b"x" * length)
        with pytest.raises(OSError) as error:
            memories.text(os.getpid(), address)
        assert _code(error) == "ENAMETOOLONG"


def test_what_is_written_is_read(memories: Memories) -> None:
    held, address = _ours(bytes(4096))
    memories.write(os.getpid(), address, b"these bytes")
    assert memories.read(os.getpid(), address, 11) == b"these bytes"
    assert memories.read(os.getpid(), address, 9999) == bytes(ffi.buffer(held))[:4096]


@pytest.mark.parametrize("address", [0, 8, (1 << 63) - 1, (1 << 64) - PAGE], ids=hex)
def test_an_address_where_nothing_is_is_a_fault(memories: Memories, address: int) -> None:
    for act in (
        lambda: memories.read(os.getpid(), address, 8),
        lambda: memories.text(os.getpid(), address),
        lambda: memories.write(os.getpid(), address, b"x"),
    ):
        with pytest.raises(OSError) as error:
            act()
        assert _code(error) == "EFAULT"


def test_a_machine_on_which_nobody_s_memory_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> bytes:
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(syscalls.Memory, "read", refused)
    yama = tmp_path / "sys/kernel/yama/ptrace_scope"
    yama.parent.mkdir(parents=True)
    yama.write_text("3\n")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    monkeypatch.setattr(os, "pread", refused)
    (tmp_path / "7").mkdir()
    (tmp_path / "7/mem").touch()
    real = os.open

    def closed(path: object, *words: object, **named: object) -> int:
        if isinstance(path, bytes) and path.endswith(b"/mem"):
            raise PermissionError(errno.EACCES, "closed")
        return real(path, *words, **named)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(HostError) as error:
        Memories(fd).read(7, 4096, 1)
    monkeypatch.undo()
    os.close(fd)
    assert (error.value.code, error.value.message, error.value.hint) == (
        "no-supervisor",
        "no process's memory can be read: kernel.yama.ptrace_scope is 3",
        "it can be changed by restarting the machine only: set it to 2 or less in /etc/sysctl.d",
    )
