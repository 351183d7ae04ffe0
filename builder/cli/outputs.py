"""``--output``: what becomes of the image.

Read as buildx does. source: docker/buildx, util/buildflags/export.go; build/opt.go, CreateExports
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from builder.cli.options import boolean, nearest
from builder.cli.values import attributes, fields, reject
from builder.engine.request import OUTPUT_KINDS, Output
from builder.errors import BuilderError
from builder.image.names import Reference

_IMAGES = ("docker", "oci", "image", "registry")
_BOOLEANS = ("tar", "push", "force-compression", "oci-mediatypes", "rewrite-timestamp")
# Attributes by the kinds of output that have them.
_ATTRIBUTES = {
    "name": _IMAGES,
    "tar": ("docker", "oci"),
    "push": ("image", "registry"),
    "compression": _IMAGES,
    "compression-level": _IMAGES,
    "force-compression": _IMAGES,
    "oci-mediatypes": _IMAGES,
    "rewrite-timestamp": (*_IMAGES, "tar", "local"),
}
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")


def output(text: str) -> Output:
    """One ``--output``: ``type=KIND[,dest=WHERE][,ATTRIBUTE=VALUE…]``, a folder, or ``-`` for a tar on stdout."""
    if fields(text, "--output") == [text] and not text.startswith("type="):
        return Output(kind="tar", dest="-") if text == "-" else _placed(Output(kind="local", dest=text))
    given = attributes(text, "--output")
    kind, dest = given.pop("type", ""), given.pop("dest", "")
    if not kind:
        reject(f"--output {text!r}: the type is missing", "one of " + ", ".join(OUTPUT_KINDS))
    if kind not in OUTPUT_KINDS:
        near = nearest(kind, OUTPUT_KINDS)
        hint = f"did you mean type={near}?" if near else "one of " + ", ".join(OUTPUT_KINDS)
        reject(f"--output: there is no type {kind!r}", hint)
    known = {name: _attribute(kind, name, value) for name, value in given.items()}
    if known.pop("push", "false") == "true":
        kind = "registry"
    return _placed(Output(kind=kind, dest=dest, attributes=known))


def _attribute(kind: str, name: str, value: str) -> str:
    """*value* in its one spelling."""
    if name.startswith("annotation"):
        reject(f"--output: {name!r} is not supported", "annotate all outputs alike: --annotation NAME=VALUE")
    if kind not in _ATTRIBUTES.get(name, ()):
        known = [key for key, kinds in _ATTRIBUTES.items() if kind in kinds]
        reject(f"--output type={kind}: {name!r} is not supported", "supported: " + ", ".join(known) if known else None)
    if name in _BOOLEANS:
        truth = boolean(value)
        if truth is None:
            reject(f"--output: {name} is true or false, not {value!r}")
        if name == "oci-mediatypes" and not truth:
            reject("--output: oci-mediatypes=false is not supported: manifests have the media types of OCI")
        return "true" if truth else "false"
    if name == "compression" and value not in _COMPRESSIONS:
        reject(f"--output: compression {value!r} is not supported", "one of " + ", ".join(_COMPRESSIONS))
    if name == "compression-level" and not re.fullmatch(r"\d{1,2}", value):
        reject(f"--output: compression-level {value!r} is not a number", "0 to 9 for gzip, 1 to 22 for zstd")
    return value


def _placed(out: Output) -> Output:
    """*out*, with a destination that its kind can have."""
    folder = out.kind == "local" or out.attributes.get("tar") == "false"
    if out.kind in ("image", "registry", "cacheonly"):
        if out.dest:
            reject(f"--output type={out.kind} has no dest")
    elif folder:
        if not out.dest or out.dest == "-":
            reject(f"--output type={out.kind}: a folder is needed", "name it with dest=FOLDER")
        if os.path.exists(out.dest) and not os.path.isdir(out.dest):
            reject(f"--output type={out.kind}: {out.dest} is a file, not a folder")
    elif os.path.isdir(out.dest):
        reject(f"--output type={out.kind}: {out.dest} is a folder, not a file")
    if out.kind in ("oci", "tar") and not out.dest:
        return Output(kind=out.kind, dest="-", attributes=out.attributes)
    return out


def outputs(
    values: Iterable[str],
    *,
    push: bool,
    load: bool = False,
    tags: tuple[str, ...],
    context: str,
    several: bool,
    terminal: bool,
) -> tuple[Output, ...]:
    """All outputs of a build.

    push      ``--push``
    load      ``--load``: a Docker archive without a destination goes into the daemon
    context   as written: it names the tarball that is written where no output is given
    several   more than one platform is built
    terminal  stdout is a terminal
    raises    UsageError
    """
    found = [output(value) for value in values]
    if push:
        images = [i for i, one in enumerate(found) if one.kind == "image"]
        for i in images:
            found[i] = Output(kind="registry", attributes=found[i].attributes)
        if not any(one.kind == "registry" for one in found):
            found.append(Output(kind="registry"))
    if load and not any(one.kind == "docker" and not one.dest for one in found):
        found.append(Output(kind="docker"))
    if not found:
        # An index of several platforms does not fit Docker's own format; docker load takes the OCI one as well.
        found = [Output(kind="oci" if several else "docker", dest=default_name(tags, context) + ".tar")]
    for one in found:
        if one.kind == "registry" and not tags and not one.attributes.get("name"):
            reject("a tag is needed to push", "name the image with --tag REGISTRY/NAME", code="missing-tag")
        if one.kind == "docker" and several:
            reject("--output type=docker cannot hold several platforms", "use type=oci,dest=FILE")
    if sum(one.dest == "-" for one in found) > 1:
        reject("only one --output can write to stdout")
    if terminal and any(one.dest == "-" for one in found):
        reject("an image is not written to a terminal", "redirect stdout, or name a file with dest=FILE")
    return tuple(found)


def default_name(tags: tuple[str, ...], context: str) -> str:
    """The name, without ``.tar``, of the tarball: after the first tag's repository, or else after the context."""
    if tags:
        try:
            return Reference.parse(tags[0]).repository.rpartition("/")[2]
        except BuilderError:
            # A wrong tag is reported where tags are read.
            return "image"
    if "://" in context:
        name = context.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".git")
    else:
        name = "" if context == "-" else os.path.basename(os.path.abspath(context))
    if not os.path.isdir(context):
        name = re.sub(r"\.(?:tar(?:\.[a-z0-9]+)?|tgz)$", "", name, flags=re.IGNORECASE)
    # source: the OCI distribution-spec's grammar of names, "Pulling manifests"
    return re.sub(r"[^a-z0-9]*[^a-z0-9._-]+[^a-z0-9]*", "-", name.lower()).strip("._-") or "image"
