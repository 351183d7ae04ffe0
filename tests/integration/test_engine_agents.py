"""The socket that leads a command to its caller's agent."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from builder.engine.running.agents import relayed


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A socket that says everything twice."""
    path = tmp_path / "agent"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        for _ in range(2):
            caller, _ = listener.accept()
            with caller:
                while data := caller.recv(100_000):
                    caller.sendall(data * 2)
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return path


def _ask(path: Path, words: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        caller.settimeout(10)
        try:
            caller.sendall(words)
            caller.shutdown(socket.SHUT_WR)
            return caller.recv(100_000)
        except (BrokenPipeError, ConnectionResetError):
            return b""  # the other side may be gone before the words, or after them: both are an end


def test_what_is_said_reaches_the_agent_and_the_answer_comes_back(agent: Path, tmp_path: Path) -> None:
    with relayed(agent, tmp_path / "place", mode=0o640, uid=os.getuid(), gid=os.getgid()) as place:
        assert place.stat().st_mode & 0o777 == 0o640
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(place))
            caller.settimeout(10)
            for words in (b"one", b"two"):
                caller.sendall(words)
                assert caller.recv(100) == words * 2
    assert not place.exists()


def test_a_path_longer_than_a_socket_address_is_no_hindrance(agent: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("f" * 120)
    folder.mkdir()
    with relayed(agent, folder / "place", mode=0o600, uid=os.getuid(), gid=os.getgid()) as place:
        assert place.is_socket()


def test_an_agent_that_has_gone_ends_the_connection(tmp_path: Path) -> None:
    with relayed(tmp_path / "gone", tmp_path / "place", mode=0o600, uid=os.getuid(), gid=os.getgid()) as place:
        assert _ask(place, b"anyone?") == b""
