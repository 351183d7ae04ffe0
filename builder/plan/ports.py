"""EXPOSE: port specifications.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_expose.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PORTS = 200_000
"""How many ports an image may expose: each number of each protocol, and room for repetition."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


class BadPort(ValueError):
    """What is wrong with a port specification."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What one word of EXPOSE says. ``protocol`` is as written; ``host``: it also says an address or a host's port."""

    ports: tuple[str, ...]
    protocol: str
    host: bool


def parse_ports(text: str) -> Ports:
    """The ports that ``[IP:][HOST:]PORT[-PORT][/PROTOCOL]`` says, each as ``80/tcp``; BadPort if it says none."""
    address, host_port, container = _parts(text)
    container, _, protocol = container.partition("/")
    if not container:
        raise BadPort(f'invalid port: "{text}": no port specified')
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise BadPort(f'invalid port: "{text}": invalid proto: {protocol}')
    protocol = protocol or "tcp"
    if address:
        _check_address(address)
    first, last = _range(container, "containerPort")
    if host_port:
        host_first, host_last = _range(host_port, "hostPort")
        if last - first != host_last - host_first and last != first:
            raise BadPort(f"invalid ranges specified for container and host Ports: {container} and {host_port}")
    ports = tuple(f"{port}/{protocol.lower()}" for port in range(first, last + 1))
    return Ports(ports, protocol, bool(address or host_port))


def _parts(text: str) -> tuple[str, str, str]:
    *address, host_port, container = ["", *text.split(":")]
    return ":".join(address[1:]), host_port, container


def _check_address(address: str) -> None:
    import ipaddress  # rare: only a mistaken EXPOSE names an address

    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        if "%" in bare:
            raise ValueError(bare)
        ipaddress.ip_address(bare)
    except ValueError:
        raise BadPort(f"invalid IP address: {bare}") from None


def _range(text: str, what: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    first = _number(start)
    last = _number(end) if dash and start != end else first
    if first is None or last is None or last < first:
        raise BadPort(f"invalid {what}: {text}")
    return first, last


def _number(text: str) -> int | None:
    if not _NUMBER.fullmatch(text) or not 0 <= int(text) <= 65535:
        return None
    return int(text)
