"""Credentials where Docker's and Podman's users keep them: configuration files and helper programs.

source   docker/cli, cli/config/configfile; containers/image, docs/containers-auth.json.5.md;
         docker/docker-credential-helpers, "Development" (the protocol of helper programs)
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import RegistryError
from builder.image.names import DEFAULT_REGISTRY

HUB_KEY = "https://index.docker.io/v1/"
"""The name under which Docker keeps Docker Hub's credentials."""

HELPER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Login:
    """A user and password, or, with ``identity``, a refresh token in the password's place."""

    user: str
    password: str = field(repr=False)
    identity: bool = False


class Credentials:
    """Looks logins up. The files are read when a login is first wanted, and again never.

    environment  for DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR and HOME
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._files: list[dict[str, Any]] | None = None

    def find(self, registry: str, repository: str) -> Login | None:
        """The login for a repository of *registry* (host and port, exactly), or None.

        raises   RegistryError when a file or a helper cannot be understood
        """
        for config in self._configs():
            login = self._in(config, registry, repository)
            if login is not None:
                return login
        return None

    def _configs(self) -> list[dict[str, Any]]:
        if self._files is None:
            self._files = [config for path in config_paths(self._environment) if (config := _read(path)) is not None]
        return self._files

    def _in(self, config: dict[str, Any], registry: str, repository: str) -> Login | None:
        helpers = config.get("credHelpers")
        names = (HUB_KEY, registry) if registry == DEFAULT_REGISTRY else (registry,)
        if isinstance(helpers, dict):
            for name in names:
                if isinstance(helpers.get(name), str):
                    return ask_helper(helpers[name], name)
        # containers-auth.json(5): a namespace's entry comes before its registry's
        path = repository
        keys = [f"{registry}/{repository}"]
        while "/" in path:
            path = path.rpartition("/")[0]
            keys.append(f"{registry}/{path}")
        keys += [*names, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/"]
        auths = config.get("auths")
        if isinstance(auths, dict):
            for key in keys:
                login = _entry(auths.get(key), key)
                if login is not None:
                    return login
        store = config.get("credsStore")
        if isinstance(store, str) and store:
            for name in names:
                login = ask_helper(store, name)
                if login is not None:
                    return login
        return None


def config_paths(environment: Mapping[str, str]) -> list[Path]:
    """The files that may hold logins, the one that wins first."""
    paths = []
    if environment.get("REGISTRY_AUTH_FILE"):
        paths.append(Path(environment["REGISTRY_AUTH_FILE"]))
    home = Path(environment.get("HOME") or "/")
    paths.append(Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    if environment.get("XDG_RUNTIME_DIR"):
        paths.append(Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    paths.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json")
    return paths


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise RegistryError(f"{path} is not JSON: {e}", code="invalid-credentials-file") from None
    return value if isinstance(value, dict) else None


def _entry(entry: object, key: str) -> Login | None:
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("identitytoken"), str) and entry["identitytoken"]:
        return Login("<token>", entry["identitytoken"], identity=True)
    if isinstance(entry.get("auth"), str) and entry["auth"]:
        try:
            user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise RegistryError(f"the login for {key} is not valid base64", code="invalid-credentials-file")
        return Login(user, password.rstrip("\0"))
    if isinstance(entry.get("username"), str) and isinstance(entry.get("password"), str):
        return Login(entry["username"], entry["password"])
    return None


def ask_helper(name: str, server: str) -> Login | None:
    """What the program docker-credential-NAME knows of *server*; None if it knows nothing."""
    program = f"docker-credential-{name}"
    if os.sep in name:
        raise RegistryError(f"not a credential helper's name: {name!r}", code="credential-helper")
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise RegistryError(
            f"the credential helper {program} is not installed",
            code="credential-helper",
            hint="install it, or take it out of Docker's config.json",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as e:
        raise RegistryError(f"{program} failed: {type(e).__name__}", code="credential-helper") from None
    if done.returncode:
        # The protocol tells "nothing known" by this sentence alone.
        if b"credentials not found" in done.stdout:
            return None
        raise RegistryError(f"{program} failed with exit code {done.returncode}", code="credential-helper")
    try:
        value = json.loads(done.stdout)
        user, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError):
        raise RegistryError(f"{program} gave no login", code="credential-helper") from None
    return Login(user, secret, identity=user == "<token>")
