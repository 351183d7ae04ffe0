"""A file by HTTP.

source   BuildKit, source/http/source.go; RFC 9110, "Redirection 3xx"
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError

from builder.engine.sources.secrets import first_secret
from builder.errors import ContextError, ImageError, RegistryError
from builder.image.names import Digest
from builder.plan.steps import RemoteFile
from builder.registry.certificates import tls_context
from builder.registry.failures import said
from builder.registry.origins import Origin
from builder.registry.proxies import proxy_for

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

    from builder.engine.sources.fetched import Memory
    from builder.engine.world import Settings

MOST_BYTES = 64 << 30
"""Of one download; what is larger is not meant, or not well meant."""

_MOST_REDIRECTS = 10
_LONGEST_TAG = 1000
_CHUNK = 1 << 18
_TIMEOUT = urllib3.Timeout(connect=30, read=120)


def download(
    source: RemoteFile, folder: Path, settings: Settings, most: int = MOST_BYTES, *, memory: Memory | None = None
) -> tuple[Path, Digest]:
    """Fetch the file into *folder*: its path and digest, by the algorithm of ``source.checksum`` if there is one.

    The file has mode 0600 and the time that ``Last-Modified`` says, 1970-01-01 if it says none.

    memory   keeps what ``unchanged`` needs to know

    raises   ContextError: ``cannot-fetch``, ``digest-mismatch``, ``download-too-large``
    """
    wanted = Digest.parse(source.checksum) if source.checksum else None
    shown = redacted(source.url)
    try:
        response = _open(source.url, settings)
        with response:
            if not 200 <= response.status < 300:
                raise _refused(source.url, response.status)
            path = folder / "file"
            digest = _save(response, path, wanted.algorithm if wanted else "sha256", shown, most)
            time = _modified(response.headers.get("Last-Modified"))
            tag = response.headers.get("ETag", "")
    except (HTTPError, UnicodeError, ValueError) as e:
        raise _cannot(shown, _reason(e)) from e
    except RegistryError as e:
        # The proxy or the certificates cannot be used: that room is asked, but it is no registry's fault.
        raise ContextError(f"cannot fetch {shown}: {e.message}", code="cannot-fetch", hint=e.hint) from e
    if wanted is not None and digest != wanted:
        path.unlink()
        raise ContextError(f"digest mismatch for {shown}: {digest} (expected: {wanted})", code="digest-mismatch")
    os.utime(path, (time, time))
    if memory is not None and tag and len(tag) <= _LONGEST_TAG:
        memory.remember(_record(source.url), {"tag": tag, "digest": str(digest)})
    return path, digest


def unchanged(source: RemoteFile, settings: Settings, memory: Memory) -> Digest | None:
    """The digest of the file if the server says that it is the one that was fetched last; None if it is another.

    source   RFC 9110, "If-None-Match"; BuildKit, source/http/source.go, which asks in the same way
    """
    known = memory.memory(_record(source.url))
    tag, digest = known.get("tag"), known.get("digest")
    if not isinstance(tag, str) or not isinstance(digest, str):
        return None
    try:
        with _open(source.url, settings, {"If-None-Match": tag}) as response:
            return Digest.parse(digest) if response.status == 304 else None
    except (HTTPError, UnicodeError, ValueError, RegistryError, ImageError):
        return None  # the download that follows says what is wrong


def modified(path: Path) -> int | None:
    """The time of the file that was fetched to *path*, seconds since the epoch: what ``Last-Modified`` said, or that of
    the newest file in it, if it is an archive; None if neither is there.
    """
    told = int(path.stat().st_mtime)
    if told:
        return told
    from builder.layer.extract import newest  # for archives of servers that say no time

    with open(path, "rb") as file:
        return newest(file)


def _record(url: str) -> str:
    return f"download {url}"


def _open(url: str, settings: Settings, more: Mapping[str, str] | None = None) -> BaseHTTPResponse:
    """The answer to a GET, redirections followed; credentials go to the host that they are for and to no other."""
    headers = _credentials(url, settings)
    for _ in range(_MOST_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{redacted(url)} is no address of a file")
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
        response = _pool(bare, settings.environment).request(
            "GET",
            bare,
            # As Go's client: compressed for the way alone, where the server likes; the content is as before.
            headers={"User-Agent": "pybuild", "Accept-Encoding": "gzip", **(more or {}), **headers},
            preload_content=False,
            decode_content=True,
            redirect=False,
            retries=False,
            timeout=_TIMEOUT,
        )
        location = response.headers.get("Location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            return response
        response.close()
        after = urljoin(bare, location)
        if urlsplit(after)[:2] != urlsplit(bare)[:2]:
            headers = {}
        url = after
    raise ValueError(f"stopped after {_MOST_REDIRECTS} redirects")


def _credentials(url: str, settings: Settings) -> dict[str, str]:
    """The Authorization header, from a secret for this host or from the URL itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    # BuildKit sets one after the other, so the token wins.
    found = first_secret((f"HTTP_AUTH_TOKEN_{host}", f"HTTP_AUTH_HEADER_{host}"), settings.secrets)
    if found is not None:
        name, value = found
        return {"Authorization": f"Bearer {value}" if name.startswith("HTTP_AUTH_TOKEN_") else value}
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(basic_auth=_login(parts)))


def _pool(url: str, environment: Mapping[str, str]) -> PoolManager:
    """Connections to where *url* is, through the proxy that the environment names for it."""
    origin = Origin.of(url)
    proxy = proxy_for(origin, environment)
    context = tls_context(environment, ()) if origin.scheme == "https" else None
    if not proxy:
        return urllib3.PoolManager(ssl_context=context)
    parts = urlsplit(proxy)
    login = urllib3.make_headers(proxy_basic_auth=_login(parts)) if parts.username is not None else None
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
    return urllib3.ProxyManager(bare, proxy_headers=login, ssl_context=context)


def _login(parts: SplitResult) -> str:
    return f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"


def _save(response: BaseHTTPResponse, path: Path, algorithm: str, shown: str, most: int) -> Digest:
    state = hashlib.new(algorithm)
    size = 0
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        os.fchmod(out.fileno(), 0o600)
        for data in response.stream(_CHUNK, decode_content=True):
            size += len(data)
            if size > most:
                raise ContextError(f"cannot fetch {shown}: it is larger than {most} bytes", code="download-too-large")
            state.update(data)
            out.write(data)
    return Digest(f"{algorithm}:{state.hexdigest()}")


def _modified(text: str | None) -> int:
    """Seconds since the epoch; 0 if the header is missing or says no time."""
    try:
        return max(0, int(parsedate_to_datetime(text).timestamp())) if text else 0
    except (ValueError, OverflowError):
        return 0


def redacted(url: str) -> str:
    """*url* as it may be shown: without user, password and query, which may hold a token."""
    try:
        parts = urlsplit(url)
        query = "…" if parts.query else ""
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))
    except ValueError:
        return "the URL"


def _refused(url: str, status: int) -> ContextError:
    hint = None
    if status in (401, 403):
        hint = f"give credentials with --secret id=HTTP_AUTH_TOKEN_{urlsplit(url).hostname},env=VARIABLE"
    return ContextError(
        f"cannot fetch {redacted(url)}: invalid response status {status}", code="cannot-fetch", hint=hint
    )


def _cannot(shown: str, why: str) -> ContextError:
    return ContextError(f"cannot fetch {shown}: {why}", code="cannot-fetch")


def _reason(error: Exception) -> str:
    """What went wrong, in the words of the system where it has some: urllib3's hold the addresses of objects."""
    if not isinstance(error, HTTPError):
        return str(error)
    if isinstance(error, urllib3.exceptions.ProtocolError) and not isinstance(error.__cause__, OSError):
        return "the connection broke off"
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and not isinstance(found, ssl.SSLError | HTTPError) and found.strerror:
            return found.strerror.lower()
        found = found.__cause__
    return said(error)
