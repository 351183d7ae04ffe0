"""Registries: names become descriptors, manifests and blobs are read, each verified.

source   OCI distribution-spec v1.1, "Pull", "Content Discovery"
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from builder.errors import BuilderError, RegistryError
from builder.image.documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from builder.image.names import DEFAULT_REGISTRY, Digest, Reference
from builder.registry.auth import Authenticator
from builder.registry.credentials import Credentials
from builder.registry.download import BlobStream
from builder.registry.endpoints import Endpoint, Endpoints
from builder.registry.logins import Login
from builder.registry.manifests import MANIFEST_LIMIT, described, type_of
from builder.registry.origins import Origin, Request, split_host
from builder.registry.probe import scheme_of
from builder.registry.referrers import referrers
from builder.registry.session import Session
from builder.registry.transport import BUDGET, RETRIED, Stream, Transport

BLOB_READ_LIMIT = 16 << 20
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
MIRROR_BUDGET = 10.0
"""Seconds for which a mirror is asked again: the registry itself comes after it."""
_OK = frozenset({200})

_Got = TypeVar("_Got")


class Registry:
    """All registries of one build: connections, logins and tokens are kept. Used by several threads at once.

    environment  for proxies, certificates, and the places of credentials and configuration
    budget       seconds for which a request is tried again
    etc          where the system's configuration is
    """

    def __init__(self, environment: Mapping[str, str], *, budget: float = BUDGET, etc: Path = Path("/etc")) -> None:
        self.transport = Transport(environment, budget, etc)
        self.credentials = Credentials(environment)
        self.endpoints = Endpoints(environment, etc)
        self.pushed: set[tuple[str, str, Digest]] = set()  # host, repository, digest: what is known to be there
        self._lock = threading.Lock()
        self._bases: dict[tuple[str, str], str] = {}
        self._authenticators: dict[tuple[str, Login | None], Authenticator] = {}

    def resolve(self, reference: Reference) -> tuple[Descriptor, Repository]:
        """What *reference* names now, and where its blobs are.

        raises   RegistryError ``not-found``, ``unauthorized``, ``unreachable`` …
        """
        repository = Repository(self, reference)
        return repository.resolve(str(reference.digest or reference.tag)), repository

    def session(self, endpoint: Endpoint, name: str, login: Login | None = None) -> Session:
        """A session with *endpoint*, as *login* or as whom the credentials say. Errors as ``resolve``'s."""
        base = self._base(endpoint)
        login = login or self.credentials.find(endpoint.host, endpoint.repository)
        with self._lock:
            key = (base, login)
            if key not in self._authenticators:
                self._authenticators[key] = Authenticator(self.transport, Origin.of(base), login)
            authenticator = self._authenticators[key]
        budget = min(MIRROR_BUDGET, self.transport.budget) if endpoint.mirror else None
        return Session(
            self.transport, authenticator, name=name, host=endpoint.host, base=base, login=login, budget=budget
        )

    def _base(self, endpoint: Endpoint) -> str:
        """``https://host``, or ``http://host`` for this machine or an insecure registry, if that is what it speaks."""
        host = "registry-1.docker.io" if endpoint.host == DEFAULT_REGISTRY else endpoint.host
        if (split_host(host)[1] or 0) > 65535:
            raise RegistryError(f"{host} is no registry: there is no such port", code="invalid-registry")
        with self._lock:
            known = self._bases.get((host, endpoint.scheme))
            if known is None:
                known = f"{endpoint.scheme or scheme_of(host, insecure=endpoint.insecure)}://{host}"
                if endpoint.insecure:
                    self.transport.connections.trust(Origin.of(known))
                self._bases[host, endpoint.scheme] = known
            return known


class Repository:
    """One repository, wherever it can be had: a source of blobs."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference
        self._endpoints = list(registry.endpoints.for_pull(reference))
        self._kept: dict[Digest, bytes] = {}

    def resolve(self, name: str) -> Descriptor:
        """The manifest or index called *name*, a tag or a digest.

        It is asked for by HEAD, which registries with rate limits do not count, and read when ``read`` wants it.
        """
        return self._anywhere(lambda endpoint: self._resolve(endpoint, name))

    def read(self, descriptor: Descriptor) -> bytes:
        """A manifest or a small blob, verified."""
        if descriptor.digest in self._kept:
            return self._kept[descriptor.digest]
        if descriptor.media_type in INDEX_TYPES or descriptor.media_type in MANIFEST_TYPES:
            return self._anywhere(lambda endpoint: self._manifest(endpoint, descriptor))
        if descriptor.size > BLOB_READ_LIMIT:
            raise RegistryError(f"{descriptor.digest} is too large: {descriptor.size} bytes", code="too-large")
        with self.open(descriptor) as stream:
            return stream.read()

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """What is listed here as speaking of *subject*; nothing of it is verified."""
        return self._anywhere(lambda endpoint: referrers(*self._session(endpoint), subject))

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob as a stream: verified at its end, taken up again where a connection broke. Memory: constant."""
        blob = BlobStream(descriptor, self._blob, self._reference.familiar)
        try:
            yield cast(BinaryIO, blob)
        finally:
            blob.close()

    def _anywhere(self, ask: Callable[[Endpoint], _Got]) -> _Got:
        """What the first endpoint says that does not fail; mirrors that failed are not asked again."""
        for endpoint in tuple(self._endpoints):
            try:
                return ask(endpoint)
            except BuilderError:
                if not endpoint.mirror:
                    raise
                # Another thread may have dropped it at the same time.
                self._endpoints = [other for other in self._endpoints if other is not endpoint]
        raise RegistryError(f"{self._reference.familiar}: there is no registry to ask", code="unreachable")

    def _session(self, endpoint: Endpoint) -> tuple[Session, str, frozenset[str]]:
        session = self._registry.session(endpoint, self._reference.familiar)
        return session, f"{session.base}/v2/{endpoint.repository}", pull_scope(endpoint.repository)

    def _resolve(self, endpoint: Endpoint, name: str) -> Descriptor:
        session, base, scope = self._session(endpoint)
        url = f"{base}/manifests/{name}"
        # Statuses besides 200 are asked for again: a HEAD's answer does not say why.
        head = session.fetch("HEAD", url, scope, headers={"Accept": ACCEPT}, expect=_ANY)
        if head.status == 200:
            found = described(head.headers, name, session.name, Request("HEAD", url))
            if found is not None:
                return found
        if head.status in RETRIED:
            raise session.refusal("HEAD", head)  # the time for trying again is spent
        answer = session.fetch("GET", url, scope, headers={"Accept": ACCEPT}, limit=MANIFEST_LIMIT)
        digest = Digest.of(answer.data)
        named = Digest.parse(name) if ":" in name else None
        if named is not None and named.matches(answer.data):
            digest = named
        elif named is not None or answer.headers.get("Docker-Content-Digest", digest) != digest:
            said = named or answer.headers["Docker-Content-Digest"]
            raise self._lie(f"sent something else than {said[:140]}", answer.url)
        self._kept[digest] = answer.data
        media_type = type_of(answer.headers, answer.data, session.name, Request("GET", url))
        return Descriptor(media_type=media_type, digest=digest, size=len(answer.data))

    def _manifest(self, endpoint: Endpoint, descriptor: Descriptor) -> bytes:
        session, base, scope = self._session(endpoint)
        url = f"{base}/manifests/{descriptor.digest}"
        limit = min(descriptor.size, MANIFEST_LIMIT)
        answer = session.fetch("GET", url, scope, headers={"Accept": ACCEPT}, limit=limit)
        if not descriptor.digest.matches(answer.data):
            raise self._lie(f"sent something else than {descriptor.digest}", answer.url)
        if len(answer.data) != descriptor.size:
            raise RegistryError(
                f"{session.name}: {descriptor.digest} has {len(answer.data)} bytes, not {descriptor.size}",
                code="size-mismatch",
                where=Request("GET", answer.url),
            )
        found = type_of(answer.headers, answer.data, session.name, Request("GET", url))
        if found != descriptor.media_type:
            raise RegistryError(
                f"{session.name}: {descriptor.digest} is {found}, not {descriptor.media_type}",
                code="type-mismatch",
                where=Request("GET", answer.url),
            )
        return answer.data

    def _blob(self, digest: Digest, offset: int) -> Stream:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        expect = frozenset({200, 206}) if offset else _OK

        def ask(endpoint: Endpoint) -> Stream:
            session, base, scope = self._session(endpoint)
            return session.open(f"{base}/blobs/{digest}", scope, headers, expect)

        return self._anywhere(ask)

    def _lie(self, what: str, url: str) -> RegistryError:
        return RegistryError(
            f"{self._reference.familiar}: the registry {what}", code="digest-mismatch", where=Request("GET", url)
        )


_ANY = frozenset(range(200, 600))


def pull_scope(repository: str) -> frozenset[str]:
    """What a token must allow for reading a repository."""
    return frozenset({f"repository:{repository}:pull"})
