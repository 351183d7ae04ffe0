"""What must be true of an image besides each document's own form; every violation is told."""

from __future__ import annotations

from collections.abc import Iterator

from builder.errors import ImageError
from builder.image.configuration import ImageConfig
from builder.image.documents import OCI_LAYER, Manifest, compression_of

MOST_LAYERS = 1000
"""Layers of one image; overlayfs stacks 500, Docker 125."""


def violations(manifest: Manifest, config: ImageConfig) -> tuple[str, ...]:
    """What is wrong with the image, one sentence each; empty if nothing is."""
    return tuple(_violations(manifest, config))


def _violations(manifest: Manifest, config: ImageConfig) -> Iterator[str]:
    layers, diff_ids = len(manifest.layers), len(config.diff_ids)
    # OCI image-spec, config.md, "rootfs": diff_ids "in order from first to last"; manifest.md, "layers": "The final
    # filesystem layout MUST match the result of applying the layers to an empty directory". So there are as many.
    if layers != diff_ids:
        yield f"the manifest has {layers} layers, the configuration {diff_ids} diff ids"
    if layers > MOST_LAYERS:
        yield f"the manifest has {layers} layers, more than {MOST_LAYERS}"
    # config.md, "history": "If present, describes the history of each layer. The array is ordered from first to last.",
    # "empty_layer": "used to mark if the history item created a filesystem diff". Base images without any are common.
    made = sum(not entry.empty_layer for entry in config.history)
    if config.history and made != diff_ids:
        yield f"the history tells of {made} layers, and there are {diff_ids}"
    # config.md: "architecture" and "os" are REQUIRED.
    if not config.platform.architecture:
        yield "the configuration names no architecture"
    for layer in manifest.layers:
        try:
            compression_of(layer.media_type)
        except ImageError as e:
            yield e.message
    # config.md, "Env": "Entries are in the format of VARNAME=VARVALUE".
    for entry in config.config.env:
        if entry.startswith("=") or "=" not in entry:
            yield f"not an environment variable: {entry!r}"
    # manifest.md, "mediaType": an OCI manifest may hold Docker layers and the other way round only by mistake.
    if "vnd.docker" in manifest.media_type and any(layer.media_type.startswith(OCI_LAYER) for layer in manifest.layers):
        yield "a Docker manifest holds OCI layers"
