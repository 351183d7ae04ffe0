"""``pybuild manifest annotate``."""

from __future__ import annotations

from builder.cli.commands import Command
from builder.cli.environment import Surroundings
from builder.cli.options import Option, Parsed
from builder.cli.storing import open_store, platform
from builder.engine.images.manifests import Annotation, annotate
from builder.errors import UsageError
from builder.image.names import Reference

_FIELDS = ("os", "arch", "variant", "os-version", "os-features")


def run(parsed: Parsed, world: Surroundings) -> int:
    """Say what platform an image of a list is for."""
    name, member = parsed.arguments
    if not any(parsed.given(field) for field in _FIELDS):
        raise UsageError("nothing is to be said of the image", code="invalid-value", hint="--arch, --variant, --os …")
    annotation = Annotation(
        os=parsed.value("os"),
        architecture=parsed.value("arch"),
        variant=parsed.value("variant"),
        os_version=parsed.value("os-version"),
        os_features=tuple(word for text in parsed.many("os-features") for word in text.split(",")),
    )
    with open_store(parsed, world) as store:
        annotate(store, Reference.parse(name), member, platform(parsed), annotation)
    return 0


COMMAND = Command(
    name="manifest annotate",
    usage="manifest annotate [OPTIONS] NAME[:TAG] IMAGE",
    description=(
        "Says of one image of a list what platform it is for, where its configuration says less or something else. "
        "IMAGE is a name, an id or the digest of a manifest."
    ),
    options=(
        Option(name="os", metavar="OS", summary="Operating system"),
        Option(name="arch", metavar="ARCH", summary="Architecture"),
        Option(name="variant", metavar="VARIANT", summary="Variant of the architecture, as in v7"),
        Option(name="os-version", metavar="VERSION", summary="Version of the operating system"),
        Option(name="os-features", kind="list", metavar="NAME", summary="What the operating system must have"),
    ),
    examples=("pybuild manifest annotate --arch arm --variant v6 team/app:1 team/app:1-pi",),
    arguments=(2, 2),
    run=run,
)
