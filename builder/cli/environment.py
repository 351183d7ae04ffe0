"""What surrounds the command: environment variables and the standard streams. Read here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from builder.cli.streams import Descriptor, Stream
from builder.errors import UsageError

# What the rooms below may need of the caller's environment; all else stays outside, so that builds are the same.
_PASSED = (
    *(name for proxy in ("HTTP", "HTTPS", "FTP", "NO", "ALL") for name in (f"{proxy}_PROXY", f"{proxy.lower()}_proxy")),
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "CONTAINERS_REGISTRIES_CONF",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "HOME",
    "PATH",
    "TMPDIR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The caller's world.

    environ   the environment variables
    stdin     a file descriptor
    stdout    results
    stderr    everything else
    """

    environ: Mapping[str, str]
    stdin: int
    stdout: Stream
    stderr: Stream

    @classmethod
    def of_process(cls) -> Surroundings:
        """Those of this process."""
        return cls(environ=os.environ, stdin=0, stdout=Descriptor(1), stderr=Descriptor(2, vanish=True))


def wants_colours(out: Stream, environ: Mapping[str, str]) -> bool:
    """Whether colours are welcome: a terminal, and no ``NO_COLOR`` that is not empty (no-color.org)."""
    return out.is_terminal() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the environment that builds may need: proxies, certificates, credentials' places."""
    return {name: environ[name] for name in _PASSED if environ.get(name)}


def store_root(given: str, environ: Mapping[str, str]) -> str:
    """The store's folder: ``--root``, ``PYBUILD_ROOT``, ``$XDG_DATA_HOME/pybuild``, ``~/.local/share/pybuild``.

    raises   UsageError (``no-store``) where there is no home
    source   XDG Base Directory Specification: "All paths set in these environment variables must be absolute. If an
             implementation encounters a relative path […] it should consider the path invalid and ignore it."
    """
    chosen = given or environ.get("PYBUILD_ROOT", "")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    data = environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(data):
        return os.path.join(data, "pybuild")
    home = environ.get("HOME") or _home_of_user()
    if not os.path.isabs(home):
        raise UsageError(
            "there is no folder for the store: this user has no home",
            code="no-store",
            hint="name one with --root or PYBUILD_ROOT",
        )
    return os.path.join(home, ".local", "share", "pybuild")


def _home_of_user() -> str:
    # An arbitrary uid, as OpenShift gives it, has no entry.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def proxy_arguments(environ: Mapping[str, str]) -> dict[str, str]:
    """The build arguments that ``proxies.default`` of Docker's config.json gives, in both spellings.

    raises   UsageError (``invalid-config``) if the file is there and is not what it must be
    source   docker/cli, cli/config/configfile/file.go, ParseProxyConfig
    """
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or _home_of_user(), ".docker")
    path = os.path.join(folder, "config.json")
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError:
        # No file, as a rule; one that cannot be read is the registry room's to complain about, if it is needed.
        return {}
    # Most callers have no such file.
    import json

    try:
        proxies = (json.loads(data).get("proxies") or {}).get("default") or {}
        known = {f"{key.upper()}_PROXY": str(proxies.get(f"{key}Proxy") or "") for key in _PROXY_KEYS}
    except (ValueError, AttributeError, RecursionError) as e:
        raise UsageError(f"{path} is not a Docker configuration: {e}", code="invalid-config") from None
    found: dict[str, str] = {}
    for name, value in known.items():
        if value:
            found |= {name: value, name.lower(): value}
    return found


_PROXY_KEYS = ("http", "https", "ftp", "no", "all")
