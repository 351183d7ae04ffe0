"""The user's terminal, attached to a pseudo-terminal for a command."""

import os
import signal
import termios
import time

import pytest

from builder.sandbox.terminal import attached


@pytest.fixture
def users():
    """(what the user sees and types on, the user's terminal)"""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (30, 90))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_go_in_and_words_come_out(users):
    keyboard, terminal = users
    with attached(terminal, terminal) as inner:
        assert termios.tcgetwinsize(inner) == (30, 90)
        os.write(inner, b"prompt> ")
        assert os.read(keyboard, 100) == b"prompt> "
        os.write(keyboard, b"yes\n")
        assert os.read(inner, 100) == b"yes\n"


def test_the_users_terminal_is_raw_meanwhile_and_as_before_afterwards(users):
    _, terminal = users
    before = termios.tcgetattr(terminal)
    with attached(terminal, terminal):
        # Ctrl-C is a key like any other: the command's own terminal makes a signal of it.
        assert not termios.tcgetattr(terminal)[3] & (termios.ISIG | termios.ECHO | termios.ICANON)
    assert termios.tcgetattr(terminal) == before


def test_a_change_of_size_is_passed_on(users):
    _, terminal = users
    with attached(terminal, terminal) as inner:
        termios.tcsetwinsize(terminal, (10, 20))
        os.kill(os.getpid(), signal.SIGWINCH)
        until = time.monotonic() + 2
        while termios.tcgetwinsize(inner) != (10, 20) and time.monotonic() < until:
            time.sleep(0.01)
        assert termios.tcgetwinsize(inner) == (10, 20)
    assert signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL


def test_the_last_words_are_not_lost(users):
    keyboard, terminal = users
    with attached(terminal, terminal) as inner:
        os.write(inner, b"last")
    assert os.read(keyboard, 100) == b"last"
