"""The program, its environment and its /etc/hosts."""

import os
from pathlib import Path

import pytest

from builder.errors import CommandFailed
from builder.sandbox.command import Command
from builder.sandbox.launch import environment, find
from builder.sandbox.surroundings import hosts_file


def command(**fields):
    return Command(**({"root": (), "root_path": Path("/r"), "argv": ("x",), "env": ()} | fields))


@pytest.fixture
def tools(tmp_path):
    for name, mode in (("runs", 0o755), ("plain", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    return tmp_path


def test_the_first_that_can_be_run_along_path_is_taken(tools, monkeypatch):
    (tools / "first").mkdir()
    (tools / "first/runs").mkdir()
    assert find("runs", f"{tools}/first:/absent:{tools}") == f"{tools}/runs"
    monkeypatch.chdir(tools)
    assert find("runs", "/absent:") == "./runs"


@pytest.mark.parametrize(
    ("name", "path", "text", "code"),
    [
        ("absent", "/bin", 'exec: "absent": executable file not found in $PATH', 127),
        ("plain", "", 'exec: "plain": executable file not found in $PATH', 127),
        ("", "/bin", 'exec: "": executable file not found in $PATH', 127),
        ("/absent/x", "", 'exec: "/absent/x": stat /absent/x: no such file or directory', 127),
        ("./folder", "", 'exec: "./folder": is a directory', 126),
    ],
)
def test_what_cannot_be_run_is_named(tools, monkeypatch, name, path, text, code):
    monkeypatch.chdir(tools)
    with pytest.raises(CommandFailed) as caught:
        find(name, path)
    assert (str(caught.value), caught.value.exit_code) == (text, code)


def test_a_file_without_the_right_to_run_is_refused(tools, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(CommandFailed, match=r'^exec: ".*/plain": permission denied$'):
        find(f"{tools}/plain", "")


def test_the_environment_is_the_commands_with_path_and_home():
    assert environment(command(env=("A=1", "B=x=y", "A=2", "no-value", "=x")), "/home/app") == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/home/app",
        "A": "2",
        "B": "x=y",
    }
    assert environment(command(env=("HOME=/h", "PATH=/p")), "/home/app") == {"PATH": "/p", "HOME": "/h"}


def test_hosts_are_as_buildkit_writes_them():
    assert hosts_file(command(hosts=("db:10.0.0.7", "six:[fd00::1]"))) == (
        b"127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\nfd00::1\tsix\n"
    )
