"""Manifests that speak of another one (signatures, statements, lists of parts): how a registry knows of them.

A registry that knows the referrers API says so when such a manifest is pushed. Any other needs to be told: the index
under the tag ``sha256-HEX`` of the manifest that is spoken of lists all that speak of it, and the client keeps it.

source   OCI distribution-spec v1.1, "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.errors import BuilderError, RegistryError
from builder.image.documents import OCI_INDEX, Descriptor, Index, Json, read_json
from builder.image.names import Digest
from builder.registry.manifests import MANIFEST_LIMIT

if TYPE_CHECKING:
    from builder.registry.auth import Scopes
    from builder.registry.session import Session


def subject_of(document: bytes) -> Digest | None:
    """The digest of the manifest that *document*, a manifest or an index, speaks of, if it does."""
    value = read_json(document, "the manifest").get("subject")
    if value is None:
        return None
    return Descriptor.read(value).digest


def referrers(session: Session, base: str, scopes: Scopes, subject: Digest) -> tuple[Descriptor, ...]:
    """What the registry lists as speaking of *subject*: by itself, or else under the tag that clients keep.

    base     the URL of the repository
    scopes   for reading it
    raises   RegistryError
    """
    for url in (f"{base}/referrers/{subject}", _list_url(base, subject)):
        answer = session.fetch(
            "GET", url, scopes, headers={"Accept": OCI_INDEX}, limit=MANIFEST_LIMIT, expect=frozenset({200, 404})
        )
        if answer.status == 200:
            try:
                return Index.read(answer.data, OCI_INDEX).manifests
            except BuilderError:
                return ()  # an image that somebody gave that tag
    return ()


def _list_url(base: str, subject: Digest) -> str:
    return f"{base}/manifests/{subject.algorithm}-{subject.hex[:64]}"


def is_known(headers: Mapping[str, str], subject: Digest) -> bool:
    """Whether the answer to a push says that the registry noted the subject itself."""
    return headers.get("OCI-Subject", "").strip() == subject


def tell(session: Session, base: str, scopes: Scopes, subject: Digest, referrer: Descriptor, document: bytes) -> None:
    """Add *referrer* to the list of those that speak of *subject*, unless it is there.

    base     the URL of the repository
    scopes   for reading and writing it
    raises   RegistryError; two that do this at once may lose one of the two, which the specification leaves open
    """
    url = _list_url(base, subject)
    answer = session.fetch(
        "GET", url, scopes, headers={"Accept": OCI_INDEX}, limit=MANIFEST_LIMIT, expect=frozenset({200, 404})
    )
    known = Index(media_type=OCI_INDEX, manifests=())
    if answer.status == 200:
        try:
            known = Index.read(answer.data, OCI_INDEX)
        except BuilderError:
            # Whoever gave an image that tag loses nothing, and hears of it.
            raise RegistryError(
                f"{session.name}: the tag {url.rpartition('/')[2]} is needed for what speaks of {subject}, "
                "but names something else",
                code="refused",
            ) from None
    if any(item.digest == referrer.digest for item in known.manifests):
        return
    made = Index(
        media_type=OCI_INDEX,
        manifests=(*known.manifests, _described(referrer, document)),
        annotations=known.annotations,
        extra=known.extra,
    )
    session.fetch(
        "PUT", url, scopes, headers={"Content-Type": OCI_INDEX}, body=made.bytes(), expect=frozenset({200, 201, 202})
    )


def _described(referrer: Descriptor, document: bytes) -> Descriptor:
    """*referrer* with what lists of referrers are searched by: its artifact type and its annotations."""
    value = read_json(document, "the manifest")
    config = value.get("config")
    kind = value.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    notes = value.get("annotations")
    extra: dict[str, Json] = {"artifactType": str(kind)} if kind else {}
    return Descriptor(
        media_type=referrer.media_type,
        digest=referrer.digest,
        size=referrer.size,
        annotations={str(key): str(text) for key, text in notes.items()} if isinstance(notes, dict) else {},
        extra=extra,
    )
