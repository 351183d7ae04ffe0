"""A tar for ``docker load`` that is an OCI layout as well.

    oci-layout, index.json, blobs/…    as in ``layout``
    manifest.json                      [{"Config": "blobs/sha256/…", "RepoTags": ["a:1"], "Layers": ["blobs/sha256/…"]}]

Docker before 25 reads manifest.json, later ones either; podman and skopeo read it as docker-archive and as oci-archive.

source   Docker image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format"; paths and names as containerd's
         archive exporter writes them, which BuildKit uses
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.errors import ImageError
from builder.export.destination import writing
from builder.export.layout import NamedImage, Report, blob_name, nothing, put_layout
from builder.export.tarball import Tarball
from builder.image.documents import canonical


def write_archive(images: Sequence[NamedImage], dest: str | Path, *, report: Report = nothing) -> int:
    """Write a tar for ``docker load``; its size in bytes. ``-`` is stdout.

    raises   ImageError ``several-platforms`` for an index of more than one image, or if a blob is not what its
             descriptor says; HostError if *dest* cannot be written
    """
    manifest = manifest_json(images)
    with writing(dest) as fd:
        tar = Tarball(fd)
        tar.add("manifest.json", manifest)
        put_layout(tar, images, report)
        tar.finish()
    return tar.size


def manifest_json(images: Sequence[NamedImage]) -> bytes:
    """The list of images as Docker reads it; images of the same digest are one entry with the names of both."""
    entries: dict[str, dict[str, Any]] = {}
    for image in images:
        found = image.files.manifests()
        if len(found) != 1:
            raise ImageError(
                f"a tar for docker load holds images of one platform, and this one has {len(found)}",
                code="several-platforms",
                hint="use type=oci, or build for one platform",
            )
        descriptor, manifest = found[0]
        entry = entries.setdefault(
            descriptor.digest,
            {
                "Config": blob_name(manifest.config.digest),
                "RepoTags": [],
                "Layers": [blob_name(layer.digest) for layer in manifest.layers],
            },
        )
        # Docker takes tags alone: a name with a digest cannot be given to a loaded image.
        entry["RepoTags"] += [name.familiar for name in image.names if name.tag and not name.digest]
    for entry in entries.values():
        entry["RepoTags"] = list(dict.fromkeys(entry["RepoTags"])) or None
    return canonical(list(entries.values()))
