"""An image to a registry: blobs first, several at once; then manifests, then indexes, its name last.

Whoever pulls while we push, or after we were killed, finds the old image or the new one, never half of one.

source   OCI distribution-spec v1.1, "Push"
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from builder.errors import RegistryError
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from builder.image.names import Digest, Reference
from builder.image.views import ImageFiles
from builder.registry.client import Registry
from builder.registry.endpoints import Endpoint
from builder.registry.manifests import MANIFEST_LIMIT
from builder.registry.origins import Request
from builder.registry.parallel import Stopped, for_each
from builder.registry.referrers import is_known, subject_of, tell
from builder.registry.session import Session
from builder.registry.upload import THERE, Upload, push_scope

JOBS = 4
"""Blobs that are sent at once."""

Report = Callable[[Descriptor, int, bool, str], None]
"""Gets a blob, how many of its bytes were sent, whether the registry has it all, and why if none had to be sent; from
one thread at a time."""


def unreported(descriptor: Descriptor, done: int, finished: bool, how: str) -> None:
    """Take a report and do nothing."""


def nowhere(digest: Digest) -> Sequence[Reference]:
    """No other repository is known to have a blob."""
    return ()


def push(
    registry: Registry,
    reference: Reference,
    descriptor: Descriptor,
    blob_path: Callable[[Digest], Path],
    *,
    report: Report = unreported,
    mount_from: Callable[[Digest], Iterable[Reference]] = nowhere,
    jobs: int = JOBS,
) -> None:
    """Push the image, or index, *descriptor* as *reference*. Nothing that the same *registry* pushed is sent again.

    blob_path   where each of its blobs lies
    mount_from  repositories that may have a blob: those of the same registry are asked to share it
    raises      RegistryError ``unauthorized``, ``denied``, ``broken-upload``, ``digest-mismatch`` …; ImageError where
                the image itself is not whole
    """
    image = ImageFiles(descriptor=descriptor, blob=blob_path)
    contents = image.contents()
    endpoint = registry.endpoints.for_push(reference)
    session = registry.session(endpoint, reference.familiar)
    pushing = _Pushing(registry, endpoint, session, image, report, mount_from)
    # What is named several times in an image is in contents() once.
    blobs = [item for item in contents if not is_document(item) and not _is_foreign(item)]
    for_each(blobs, pushing.blob, jobs)
    for item in contents:
        if is_document(item) and item.digest != descriptor.digest:
            pushing.document(item, item.digest)
    pushing.document(descriptor, reference.tag or descriptor.digest)


def is_document(descriptor: Descriptor) -> bool:
    """Whether it is a manifest or an index, which registries keep apart from blobs."""
    return descriptor.media_type in MANIFEST_TYPES or descriptor.media_type in INDEX_TYPES


def _is_foreign(descriptor: Descriptor) -> bool:
    """Whether it is fetched from elsewhere. source: image-spec, layer.md, "Non-Distributable Layers"."""
    return ".foreign." in descriptor.media_type or ".nondistributable." in descriptor.media_type


class _Pushing:
    """One push."""

    def __init__(
        self,
        registry: Registry,
        endpoint: Endpoint,
        session: Session,
        image: ImageFiles,
        report: Report,
        mount_from: Callable[[Digest], Iterable[Reference]],
    ) -> None:
        self._registry = registry
        self._endpoint = endpoint
        self._session = session
        self._image = image
        self._report = report
        self._mount_from = mount_from
        self._reporting = threading.Lock()

    def blob(self, descriptor: Descriptor, stop: threading.Event) -> None:
        """See to it that the registry has a blob."""
        how = THERE
        if self._key(descriptor) not in self._registry.pushed:
            upload = Upload(
                self._session,
                self._endpoint.repository,
                descriptor,
                self._image.blob(descriptor.digest),
                sent=lambda done: self._tell(descriptor, done, stop),
                stop=stop,
                budget=self._registry.transport.budget,
            )
            how = upload.run(self._sources(descriptor.digest))
            self._registry.pushed.add(self._key(descriptor))
        self._tell(descriptor, descriptor.size, stop, finished=True, how=how)

    def document(self, descriptor: Descriptor, name: str) -> None:
        """Put a manifest or an index under *name*, a tag or its digest."""
        by_digest = name == descriptor.digest
        if by_digest and self._key(descriptor) in self._registry.pushed:
            return
        data = self._image.read(descriptor)
        repository = self._endpoint.repository
        url = f"{self._session.base}/v2/{repository}/manifests/{name}"
        if len(data) > MANIFEST_LIMIT:
            raise RegistryError(
                f"{self._session.name}: the manifest has {len(data)} bytes, more than registries take",
                code="too-large",
                where=Request("PUT", url),
            )
        answer = self._session.fetch(
            "PUT",
            url,
            push_scope(repository),
            headers={"Content-Type": descriptor.media_type},
            body=data,
            expect=frozenset({200, 201, 202}),
        )
        if answer.headers.get("Docker-Content-Digest", descriptor.digest) != descriptor.digest:
            raise RegistryError(
                f"{self._session.name}: the registry stored something else than {descriptor.digest}",
                code="digest-mismatch",
                where=Request("PUT", url),
            )
        subject = subject_of(data)
        if subject is not None and not is_known(answer.headers, subject):
            base = f"{self._session.base}/v2/{repository}"
            tell(self._session, base, push_scope(repository), subject, descriptor, data)
        self._registry.pushed.add(self._key(descriptor))

    def _key(self, descriptor: Descriptor) -> tuple[str, str, Digest]:
        return self._endpoint.host, self._endpoint.repository, descriptor.digest

    def _sources(self, digest: Digest) -> list[str]:
        """Other repositories of the same registry that have the blob: those we pushed to, and those we are told."""
        host, repository = self._endpoint.host, self._endpoint.repository
        found = [place for at, place, known in tuple(self._registry.pushed) if at == host and known == digest]
        for reference in self._mount_from(digest):
            there = self._registry.endpoints.for_push(reference)
            if there.host == host:
                found.append(there.repository)
        return [place for place in dict.fromkeys(found) if place != repository]

    def _tell(
        self, descriptor: Descriptor, done: int, stop: threading.Event, *, finished: bool = False, how: str = ""
    ) -> None:
        with self._reporting:
            if stop.is_set():
                raise Stopped  # the caller has gone on already, and wants to hear nothing more
            self._report(descriptor, done, finished, how)
