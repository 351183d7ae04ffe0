"""What a registry's answer says of a manifest, and whether that can be true."""

from __future__ import annotations

from collections.abc import Mapping

from builder.errors import BuilderError, RegistryError
from builder.image.documents import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, Descriptor, read_json
from builder.image.names import Digest
from builder.registry.origins import Request

MANIFEST_LIMIT = 4 << 20
"""Bytes: "a registry SHOULD enforce some limit … of at least 4 megabytes" (distribution-spec, "Pushing Manifests")."""
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_GENERAL = ("", "application/json", "application/octet-stream", "text/plain")


def described(headers: Mapping[str, str], name: str, image: str, where: Request) -> Descriptor | None:
    """The manifest that the answer to a HEAD describes; None if it does not say enough.

    raises   RegistryError ``unsupported-media-type``, ``digest-mismatch``, ``too-large``
    """
    media_type, length = _content_type(headers), headers.get("Content-Length", "")[:20]
    try:
        digest = Digest.parse(headers.get("Docker-Content-Digest", ""))
    except BuilderError:
        return None
    if media_type in _GENERAL or not length.isdecimal():
        return None
    if ":" in name and digest != name:
        raise RegistryError(
            f"{image}: the registry has something else under {name}: {digest}", code="digest-mismatch", where=where
        )
    _check(media_type, image, where)
    if int(length) > MANIFEST_LIMIT:
        raise RegistryError(f"{image}: the manifest is too large: {length} bytes", code="too-large", where=where)
    return Descriptor(media_type=media_type, digest=digest, size=int(length))


def type_of(headers: Mapping[str, str], data: bytes, image: str, where: Request) -> str:
    """The media type of the manifest *data*.

    raises   RegistryError ``unsupported-media-type``, ``type-mismatch``; ImageError where it is not JSON
    source   distribution-spec, "Pulling manifests": "If the manifest has a mediaType field, clients SHOULD reject
             unless the mediaType field's value matches the type specified by the Content-Type header."
    """
    given = _content_type(headers)
    if given not in _GENERAL:
        _check(given, image, where)
    value = read_json(data, f"{image}: the manifest")
    written = value.get("mediaType")
    if given in _GENERAL:
        given = written if isinstance(written, str) else OCI_INDEX if "manifests" in value else OCI_MANIFEST
        _check(given, image, where)
    if isinstance(written, str) and written != given:
        raise RegistryError(
            f"{image}: the registry sent {given[:200]} that calls itself {written[:200]}",
            code="type-mismatch",
            where=where,
        )
    return given


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _check(media_type: str, image: str, where: Request) -> None:
    if media_type in INDEX_TYPES or media_type in MANIFEST_TYPES:
        return
    if media_type.startswith(SCHEMA_1):
        raise RegistryError(
            f"{image} is an image of Docker's schema 1, which cannot be read",
            code="unsupported-media-type",
            where=where,
        )
    raise RegistryError(
        f"{image}: the registry sent {media_type[:200]!r}, which is no manifest",
        code="unsupported-media-type",
        where=where,
    )
