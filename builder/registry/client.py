"""Manifests and blobs over HTTP, each verified while it is read.

source   OCI distribution-spec v1.1, "Pulling manifests", "Pulling blobs"
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from builder.errors import RegistryError
from builder.image.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor
from builder.image.names import DEFAULT_REGISTRY, Digest, Reference
from builder.registry.auth import Authenticator, unauthorized
from builder.registry.credentials import Credentials
from builder.registry.transport import Request, Transport, is_loopback

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MANIFEST_LIMIT = 4 << 20
"""Bytes: "a registry SHOULD enforce some limit … of at least 4 megabytes" (distribution-spec, "Pushing Manifests")."""
BLOB_READ_LIMIT = 16 << 20
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
MOST_RESUMES = 8


class Registry:
    """All registries of one build: connections, logins and tokens are kept."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.transport = Transport(environment)
        self.authenticator = Authenticator(self.transport, Credentials(environment))
        self._schemes: dict[str, str] = {}

    def resolve(self, reference: Reference) -> tuple[Descriptor, Repository]:
        """What *reference* names now, and where its blobs are.

        raises   RegistryError ``not-found``, ``unauthorized``, ``unreachable`` …
        """
        repository = Repository(self, reference)
        return repository.resolve(str(reference.digest or reference.tag)), repository

    def base(self, registry: str) -> str:
        """``https://host``; ``http://`` for this machine itself where it does not speak TLS, as Docker has it."""
        host = "registry-1.docker.io" if registry == DEFAULT_REGISTRY else registry
        if registry not in self._schemes:
            self._schemes[registry] = "https"
            if is_loopback(registry.rpartition(":")[0] or registry) and not self._speaks_tls(host):
                self._schemes[registry] = "http"
        return f"{self._schemes[registry]}://{host}"

    def _speaks_tls(self, host: str) -> bool:
        import socket
        import ssl

        name, _, port = host.rpartition(":") if ":" in host else (host, "", "443")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only asks which protocol is spoken
        try:
            with socket.create_connection((name.strip("[]"), int(port)), 5) as plain, context.wrap_socket(plain):
                return True
        except ssl.SSLError:
            return False
        except OSError:
            return True  # not reachable at all: the request itself will say so


class Repository:
    """One repository: a source of blobs."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference
        self._url = f"{registry.base(reference.registry)}/v2/{reference.repository}"
        self._kept: dict[Digest, bytes] = {}

    def resolve(self, name: str) -> Descriptor:
        """The manifest or index called *name*, a tag or a digest; its body is read once and kept for ``read``."""
        data, media_type = self._manifest(name)
        digest = Digest.of(data)
        if ":" in name and name.startswith("sha256:") and digest != name:
            raise self._wrong(Digest(name), f"the content is {digest}")
        self._kept = {digest: data}
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def read(self, descriptor: Descriptor) -> bytes:
        """A manifest or a small blob, verified."""
        if descriptor.digest in self._kept:
            return self._kept[descriptor.digest]
        if "manifest" in descriptor.media_type or "index" in descriptor.media_type:
            data, _ = self._manifest(descriptor.digest)
            if Digest.of(data) != descriptor.digest or len(data) != descriptor.size:
                raise self._wrong(descriptor.digest, f"the content is {Digest.of(data)}")
            return data
        if descriptor.size > BLOB_READ_LIMIT:
            raise RegistryError(f"{descriptor.digest} is too large: {descriptor.size} bytes", code="too-large")
        with self.open(descriptor) as stream:
            return stream.read()

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob as a stream: verified at its end, taken up again where a connection broke."""
        blob = BlobStream(self, descriptor)
        try:
            yield cast(BinaryIO, blob)
        finally:
            blob.close()

    def blob(self, digest: Digest, offset: int) -> BaseHTTPResponse:
        """The answer that holds a blob from *offset* on."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = f"{self._url}/blobs/{digest}"
        response = self._request("GET", url, headers, frozenset({200, 206}))
        if offset and response.status != 206:
            response.close()
            raise RegistryError(
                "the registry cannot take up a broken download", code="no-resume", where=Request("GET", url)
            )
        return response

    def _manifest(self, name: str) -> tuple[bytes, str]:
        response = self._request("GET", f"{self._url}/manifests/{name}", {"Accept": ACCEPT}, frozenset({200}))
        data = response.read(MANIFEST_LIMIT + 1)
        response.release_conn()
        if len(data) > MANIFEST_LIMIT:
            raise RegistryError(f"{self._reference.familiar}: the manifest is too large", code="too-large")
        return data, response.headers.get("Content-Type", "").partition(";")[0].strip()

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], expect: frozenset[int], actions: str = "pull"
    ) -> BaseHTTPResponse:
        """An answer in *expect*, logged in if the registry asks; else a RegistryError."""
        registry, reference = self._registry, self._reference
        known = registry.authenticator.header(reference, actions)
        for attempt in range(2):
            sent = dict(headers) | ({"Authorization": known} if known else {})
            response = registry.transport.request(method, url, sent, expect=expect)
            if response.status != 401 or attempt:
                break
            known = registry.authenticator.answer(response, reference, actions, url)
            response.drain_conn()
        if response.status in expect:
            return response
        detail = _told(response.read(64 << 10))
        response.close()
        raise self._refused(response.status, detail, method, url)

    def _refused(self, status: int, detail: str, method: str, url: str) -> RegistryError:
        name, where = self._reference.familiar, Request(method, url)
        if status in (401, 403):
            return unauthorized(self._reference, self._registry.authenticator.login(self._reference), url)
        if status == 404:
            return RegistryError(f"{name}: not found", code="not-found", where=where, hint="check the name and the tag")
        if status == 429:
            return RegistryError(
                f"{name}: the registry's rate limit is reached",
                code="rate-limited",
                where=where,
                hint="log in, wait, or use a mirror",
            )
        return RegistryError(
            f"{name}: the registry answered {status}{f': {detail}' if detail else ''}", code="refused", where=where
        )

    def _wrong(self, digest: Digest, what: str) -> RegistryError:
        return RegistryError(
            f"{self._reference.familiar}: the registry sent something else than {digest}: {what}",
            code="digest-mismatch",
            where=Request("GET", self._url),
        )


class BlobStream:
    """A blob being downloaded."""

    def __init__(self, repository: Repository, descriptor: Descriptor) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._done = 0
        self._resumes = 0
        self._response: BaseHTTPResponse | None = None

    def read(self, size: int = -1) -> bytes:
        """Like any stream's; RegistryError ``digest-mismatch`` or ``size-mismatch`` at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        data = self._next(size)
        self._hash.update(data)
        self._done += len(data)
        if self._done > self._descriptor.size or (not data and size and self._done != self._descriptor.size):
            raise RegistryError(
                f"{self._descriptor.digest} has {self._done} bytes, not {self._descriptor.size}", code="size-mismatch"
            )
        if not data and size and self._hash.hexdigest() != self._descriptor.digest.hex:
            raise RegistryError(
                f"the registry sent something else than {self._descriptor.digest}", code="digest-mismatch"
            )
        return data

    def _next(self, size: int) -> bytes:
        from urllib3.exceptions import HTTPError

        while self._done < self._descriptor.size:
            try:
                if self._response is None:
                    self._response = self._repository.blob(self._descriptor.digest, self._done)
                data = self._response.read(size, decode_content=False)
                if data:
                    return data
                # The body ended before the blob: a connection was cut where no length was announced.
            except (HTTPError, OSError) as e:
                if self._resumes >= MOST_RESUMES:
                    raise RegistryError(
                        f"{self._descriptor.digest}: the download broke off: {type(e).__name__}", code="broken-download"
                    ) from None
            else:
                if self._resumes >= MOST_RESUMES:
                    return b""
            self._resumes += 1
            self.close()
        return b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Leave the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None


def _told(data: bytes) -> str:
    """The registry's own words, from its JSON of errors."""
    import json

    try:
        errors = json.loads(data)["errors"]
        return "; ".join(str(item.get("message") or item.get("code")) for item in errors)[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
