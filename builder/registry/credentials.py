"""Credentials where Docker's and Podman's users keep them: looked up, stored and removed.

source   docker/cli, cli/config/configfile; containers/image, docs/containers-auth.json.5.md
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from builder.errors import RegistryError
from builder.image.names import DEFAULT_REGISTRY
from builder.registry.login_files import config_paths, read_config, rewrite
from builder.registry.logins import Login
from builder.registry.programs import ask, erase, keep

HUB_KEY = "https://index.docker.io/v1/"
"""The name under which Docker keeps Docker Hub's credentials."""


class Credentials:
    """Looks logins up. The files are read when a login is first wanted, and again never. Thread-safe.

    environment  for DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR and HOME
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._files: list[dict[str, Any]] | None = None
        self._found: dict[tuple[str, str], Login | None] = {}
        self._lock = threading.Lock()

    def find(self, registry: str, repository: str) -> Login | None:
        """The login for a repository of *registry* (host and port, exactly; "" for the registry itself), or None.

        raises   RegistryError when a file or a helper cannot be understood
        """
        with self._lock:
            key = (registry, repository)
            if key not in self._found:
                logins = (_in(config, registry, repository, self._environment) for config in self._configs())
                self._found[key] = next((login for login in logins if login is not None), None)
            return self._found[key]

    def _configs(self) -> list[dict[str, Any]]:
        if self._files is None:
            self._files = [config for path in config_paths(self._environment) if (config := read_config(path))]
        return self._files


def store_login(registry: str, user: str, password: str, environment: Mapping[str, str]) -> str:
    """Keep a login for *registry* (host and port) where later builds find it; what keeps it: a file, or a helper.

    raises   RegistryError ``invalid-login``, ``credential-helper``, ``invalid-credentials-file``,
             ``unwritable-credentials-file``
    """
    if ":" in user:
        # RFC 7617, section 2: the first colon ends the user's name.
        raise RegistryError("a user's name cannot have a colon", code="invalid-login")
    path = config_paths(environment)[0]
    name = _names(registry)[0]
    helper = _helper(read_config(path) or {}, _names(registry))
    if helper:
        keep(helper, name, user, password, environment)
    auth = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()

    def change(config: dict[str, Any]) -> None:
        _drop(config, registry)
        # Beside a helper Docker leaves an empty entry, by which it knows whom it is logged in to.
        config.setdefault("auths", {})[name] = {} if helper else {"auth": auth}

    rewrite(path, change)
    return f"docker-credential-{helper}" if helper else str(path)


def remove(registry: str, environment: Mapping[str, str]) -> bool:
    """Forget the login for *registry*; whether there was one. Errors as ``store_login``'s."""
    path = config_paths(environment)[0]
    config = read_config(path) or {}
    known = _drop(config, registry)
    helper = _helper(config, _names(registry))
    if helper:
        for name in _names(registry):
            known = erase(helper, name, environment) or known
    if known:
        rewrite(path, lambda config: _drop(config, registry))
    return known


def _drop(config: dict[str, Any], registry: str) -> bool:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return False
    keys = [key for key in auths if _means(key, registry)]
    for key in keys:
        del auths[key]
    return bool(keys)


def _names(registry: str) -> tuple[str, ...]:
    """The names under which helpers know *registry*."""
    return (HUB_KEY, registry) if registry == DEFAULT_REGISTRY else (registry,)


def _means(key: str, registry: str) -> bool:
    """Whether the key of an entry means the whole of *registry*: its host, as such or in a URL that Docker once wrote.

    source   docker/cli, registry.ConvertToHostname; the host must be the very same
    """
    host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    if path.strip("/") not in ("", "v1", "v2"):
        return False
    if registry == DEFAULT_REGISTRY:
        return host in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")
    return host.lower() == registry.lower()


def _helper(config: Mapping[str, Any], names: tuple[str, ...]) -> str:
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for name in names:
            if isinstance(helpers.get(name), str) and helpers[name]:
                return str(helpers[name])
    store = config.get("credsStore")
    return store if isinstance(store, str) else ""


def _in(config: Mapping[str, Any], registry: str, repository: str, environment: Mapping[str, str]) -> Login | None:
    """The login in one file. source: docker/cli, configfile.GetAuthConfig: a registry's own helper goes first."""
    names = _names(registry)
    helpers = config.get("credHelpers")
    own = isinstance(helpers, dict) and any(name in helpers for name in names)
    helper = _helper(config, names)
    if own and helper:
        return _ask(helper, names, environment)
    for login in _entries(config.get("auths"), registry, repository):
        return login
    return _ask(helper, names, environment) if helper else None


def _ask(helper: str, names: tuple[str, ...], environment: Mapping[str, str]) -> Login | None:
    for name in names:
        login = ask(helper, name, environment)
        if login is not None:
            return login
    return None


def _entries(auths: object, registry: str, repository: str) -> Iterator[Login]:
    """The logins that fit, the most special first: containers-auth.json(5) has entries for namespaces."""
    if not isinstance(auths, dict):
        return
    path = f"/{repository}" if repository else ""
    keys = []
    while path:
        keys.append(f"{registry}{path}")
        path = path.rpartition("/")[0]
    keys += [*_names(registry), *(key for key in auths if _means(key, registry))]
    for key in keys:
        login = _entry(auths.get(key), key)
        if login is not None:
            yield login


def _entry(entry: object, key: str) -> Login | None:
    if not isinstance(entry, dict):
        return None
    for name, kind in (("identitytoken", "identity"), ("registrytoken", "bearer")):
        if isinstance(entry.get(name), str) and entry[name]:
            return Login("<token>", entry[name], kind)
    if isinstance(entry.get("auth"), str) and entry["auth"]:
        try:
            user, colon, password = (
                base64.b64decode(entry["auth"], validate=True).decode("utf-8", "surrogateescape").partition(":")
            )
        except (binascii.Error, ValueError):
            user, colon, password = "", "", ""
        if not colon or not user:
            raise RegistryError(f"the login for {key} is not valid base64", code="invalid-credentials-file")
        return Login(user, password.rstrip("\0"))
    if isinstance(entry.get("username"), str) and isinstance(entry.get("password"), str):
        return Login(entry["username"], entry["password"])
    return None


__all__ = ["HUB_KEY", "Credentials", "Login", "remove", "store_login"]
