"""``pybuild login``."""

from __future__ import annotations

import os
import termios

from builder.cli.commands import Command
from builder.cli.environment import Surroundings, passed_on
from builder.cli.options import Option, Parsed
from builder.errors import UsageError
from builder.image.names import DEFAULT_REGISTRY

_LIMIT = 1 << 16
"""Bytes of a password; tokens of some registries have a few thousand."""


def run(parsed: Parsed, world: Surroundings) -> int:
    """Ask the registry whether it accepts a login, and keep that."""
    # HTTP is for those alone who talk to a registry.
    from builder.registry.client import Registry
    from builder.registry.credentials import store_login
    from builder.registry.login import check_login, registry_host
    from builder.registry.logins import Login

    host = registry_host(parsed.arguments[0] if parsed.arguments else "")
    user, password = _given(parsed, world, host)
    environment = passed_on(world.environ)
    check_login(Registry(environment), host, Login(user, password))
    kept = store_login(host, user, password, environment)
    if not kept.startswith("docker-credential-"):
        world.stderr.write(f"note: the password is kept unencrypted in {kept}\n")
    world.stdout.write("Login Succeeded\n")
    return 0


def _given(parsed: Parsed, world: Surroundings, host: str) -> tuple[str, str]:
    """User and password: from the options, from stdin, or asked for."""
    user, from_stdin = parsed.value("username"), parsed.flag("password-stdin")
    if parsed.given("password"):
        if from_stdin:
            raise UsageError("--password and --password-stdin cannot be used together", code="invalid-value")
        world.stderr.write("note: --password is seen by others in the list of processes: use --password-stdin\n")
    if from_stdin:
        if not user:
            raise UsageError("--password-stdin needs --username", code="invalid-value")
        return user, _read(world.stdin).rstrip("\r\n")
    if not user or not parsed.given("password"):
        if not os.isatty(world.stdin):
            raise UsageError(
                "there is no terminal to ask for a login",
                code="no-terminal",
                hint="give it: pybuild login -u USER --password-stdin REGISTRY < FILE",
            )
        user = user or _asked(world, f"Username for {host}: ", hidden=False)
    password = parsed.value("password") if parsed.given("password") else _asked(world, "Password: ", hidden=True)
    if not user or not password:
        raise UsageError("user and password must not be empty", code="invalid-value")
    return user, password


def _read(fd: int) -> str:
    data = b""
    while len(data) <= _LIMIT and (more := os.read(fd, _LIMIT)):
        data += more
    if len(data) > _LIMIT:
        raise UsageError("the password on stdin is too long", code="invalid-value")
    if not data.strip():
        raise UsageError("the password on stdin is empty", code="invalid-value")
    return data.decode("utf-8", "surrogateescape")


def _asked(world: Surroundings, question: str, *, hidden: bool) -> str:
    """A line typed at the terminal; *hidden*: without echo, which comes back whatever happens."""
    world.stderr.write(question)
    before = termios.tcgetattr(world.stdin)
    if hidden:
        silent = termios.tcgetattr(world.stdin)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(world.stdin, termios.TCSADRAIN, silent)
    try:
        line = os.read(world.stdin, _LIMIT)
    finally:
        termios.tcsetattr(world.stdin, termios.TCSADRAIN, before)
        if hidden:
            world.stderr.write("\n")
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n")


COMMAND = Command(
    name="login",
    usage="login [OPTIONS] [REGISTRY]",
    description=(
        f"Asks a registry (default: {DEFAULT_REGISTRY}) whether it accepts a login, and keeps it where Docker and "
        "Podman look: in the file of REGISTRY_AUTH_FILE, or in Docker's config.json with the helper that it names."
    ),
    options=(
        Option(name="username", short="u", metavar="USER", summary="User"),
        Option(name="password", short="p", metavar="TEXT", summary="Password, or token; others can see it"),
        Option(name="password-stdin", kind="flag", summary="Read the password from stdin"),
    ),
    examples=("pybuild login -u me --password-stdin registry.example.com < token", "pybuild login"),
    arguments=(0, 1),
    run=run,
)
