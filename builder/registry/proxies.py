"""Which proxy, if any, stands between us and a server.

source   golang.org/x/net/http/httpproxy, Config: what Docker's users are used to
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from builder.errors import RegistryError
from builder.registry.origins import Origin, is_loopback, split_host


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> str:
    """The proxy's URL for *origin* as the environment says, or "".

    raises   RegistryError ``unsupported-proxy`` for one that speaks no HTTP
    """
    if is_loopback(origin.host) or _excepted(origin, _either(environment, "NO_PROXY")):
        return ""
    proxy = _either(environment, f"{origin.scheme.upper()}_PROXY")
    if not proxy:
        return ""
    scheme, found, _ = proxy.partition("://")
    if not found:
        return f"http://{proxy}"
    if scheme not in ("http", "https"):
        raise RegistryError(
            f"{origin.scheme.upper()}_PROXY names a proxy for {scheme}, which is not supported",
            code="unsupported-proxy",
            hint="name an HTTP proxy, or except the registry with NO_PROXY",
        )
    return proxy


def _either(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _excepted(origin: Origin, written: str) -> bool:
    return any(_matches(origin, entry.strip().lower()) for entry in written.split(",") if entry.strip())


def _matches(origin: Origin, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        try:
            return ipaddress.ip_address(origin.host) in network
        except ValueError:
            return False
    try:
        name, port = split_host(entry)
    except ValueError:
        return False
    if port is not None and port != origin.port:
        return False
    # ".example.com" is for what is below it, "example.com" for itself, too; "*.example.com" is an old spelling.
    name = name.removeprefix("*")
    return origin.host.endswith(name if name.startswith(".") else f".{name}") or origin.host == name
