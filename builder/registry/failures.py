"""What keeps a request from being answered at all, told in one line."""

from __future__ import annotations

import ssl

from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from builder.errors import RegistryError
from builder.registry.origins import Origin, Request


def may_pass(error: Exception) -> bool:
    """Whether trying again may help: not for a name that does not resolve, a closed port, or a bad certificate."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError):
        # What breaks off in the middle of a record looks like an error of TLS.
        return isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    return not isinstance(cause, (NewConnectionError, SSLError, LocationParseError))


def unreachable(method: str, url: str, error: Exception) -> RegistryError:
    """The error for a request that got no answer."""
    cause, where = _cause(error), Request(method, url)
    origin = Origin.of(url)
    host = f"{origin.host}:{origin.port}" if origin.port not in (80, 443) else origin.host
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"{host} has no certificate that is trusted here: {cause.verify_message}",
            code="untrusted-certificate",
            where=where,
            hint=f"put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt, or name it with "
            "SSL_CERT_FILE",
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return RegistryError(
            f"{host} does not speak TLS",
            code="no-tls",
            where=where,
            hint=f"if that is meant, name {host} in insecure-registries of /etc/docker/daemon.json",
        )
    through = " through the proxy" if _through_proxy(error) else ""
    return RegistryError(
        f"cannot reach the registry {host}{through}: {_said(cause)}",
        code="unreachable",
        where=where,
        hint=_hint(cause, through),
    )


def said(error: Exception) -> str:
    """What happened, in a few words."""
    return _said(_cause(error))


def _hint(cause: BaseException, through: str) -> str | None:
    if through:
        return "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
    if isinstance(cause, NameResolutionError):
        return "check the registry's name; where a proxy leads out of this network, name it in HTTPS_PROXY"
    return None


def _through_proxy(error: BaseException) -> bool:
    return isinstance(error, ProxyError) or (isinstance(error, MaxRetryError) and isinstance(error.reason, ProxyError))


def _cause(error: BaseException) -> BaseException:
    """The innermost error that urllib3 wrapped."""
    for _ in range(5):
        if isinstance(error, MaxRetryError) and error.reason is not None:
            error = error.reason
        elif isinstance(error, ProxyError):
            error = error.original_error
        elif isinstance(error, SSLError) and error.args and isinstance(error.args[0], BaseException):
            error = error.args[0]
        else:
            break
    return error


def _said(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'broken off').lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, HTTPError):
        return error.strerror
    for inner in error.args:
        if isinstance(inner, BaseException):
            return _said(inner)
    text = str(error)
    # urllib3 puts its own objects before what the system said.
    text = text.rpartition("[Errno ")[2].partition("] ")[2].rstrip(")") if "[Errno " in text else text
    return text.splitlines()[0][:200] if text else type(error).__name__
