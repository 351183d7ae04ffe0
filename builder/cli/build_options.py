"""The options of ``pybuild build``: those of docker buildx build, and ours."""

from __future__ import annotations

from builder.cli import limits
from builder.cli.options import Option
from builder.cli.render import MODES

_IMAGE = "What is built"
_RUN = "What a RUN sees"
_OUT = "What becomes of it"
_HOW = "How it is built"

_ATTESTATIONS = "no attestations are made"


def _refused(name: str, why: str, hint: str | None = None, *, kind: str = "value", short: str = "") -> Option:
    listed = name in ("cache-from", "cache-to")
    return Option(name=name, kind=kind, short=short, refused=why, refused_hint=hint, hidden=not listed)


OPTIONS = (
    Option(
        name="file",
        short="f",
        metavar="FILE",
        group=_IMAGE,
        summary="Dockerfile (default: CONTEXT/Dockerfile; - is stdin)",
    ),
    Option(name="tag", short="t", kind="list", metavar="NAME[:TAG]", group=_IMAGE, summary="Name of the image"),
    Option(name="target", metavar="STAGE", group=_IMAGE, summary="Stage to build (default: the last)"),
    Option(
        name="platform",
        kind="list",
        metavar="OS/ARCH[,…]",
        group=_IMAGE,
        summary="Platform to build for; several make an index",
    ),
    Option(
        name="build-arg",
        kind="list",
        metavar="NAME[=VALUE]",
        group=_IMAGE,
        summary="Value of an ARG; without =VALUE the one of the environment variable",
    ),
    Option(name="label", kind="list", metavar="NAME=VALUE", group=_IMAGE, summary="Label of the image"),
    Option(
        name="annotation",
        kind="list",
        metavar="NAME=VALUE",
        group=_IMAGE,
        summary="Annotation of the manifest",
    ),
    Option(
        name="build-context",
        kind="list",
        metavar="NAME=WHERE",
        group=_IMAGE,
        summary="Further context: a folder, oci-layout://FOLDER[:TAG|@DIGEST], docker-image://NAME, a URL",
    ),
    Option(
        name="reproducible",
        kind="flag",
        group=_IMAGE,
        summary="Same inputs, same digest, on any machine: no time is later than SOURCE_DATE_EPOCH, or the newest file "
        "of the context",
    ),
    Option(
        name="secret",
        kind="list",
        metavar="id=ID[,src=FILE|,env=VAR]",
        group=_RUN,
        summary="Secret for RUN --mount=type=secret",
    ),
    Option(
        name="ssh",
        kind="list",
        metavar="ID[=SOCKET|KEY,…]",
        group=_RUN,
        summary="SSH agent for RUN --mount=type=ssh",
    ),
    Option(
        name="network",
        metavar="MODE",
        choices=("default", "none", "host"),
        group=_RUN,
        summary="Network of RUN instructions",
    ),
    Option(name="add-host", kind="list", metavar="HOST:IP", group=_RUN, summary="Entry for /etc/hosts"),
    Option(name="shm-size", metavar="BYTES", group=_RUN, summary="Size of /dev/shm (default: 64m)"),
    Option(name="ulimit", kind="list", metavar="NAME=SOFT[:HARD]", group=_RUN, summary="Limit, as of ulimit"),
    *limits.options(group=_RUN),
    Option(
        name="allow",
        kind="list",
        metavar="RIGHT",
        group=_RUN,
        summary="Grant a right that a RUN asks for: network.host, security.insecure",
    ),
    Option(
        name="output",
        short="o",
        kind="list",
        metavar="OUTPUT",
        group=_OUT,
        summary="type=docker|oci|tar,dest=FILE; type=local,dest=FOLDER; type=registry|image|cacheonly; "
        "a folder alone is type=local, - alone is type=tar on stdout",
    ),
    Option(
        name="push", kind="flag", group=_OUT, summary="Push to the registry that the tag names: --output type=registry"
    ),
    Option(
        name="load", kind="flag", group=_OUT, summary="Load into the Docker daemon that answers: --output type=docker"
    ),
    Option(name="iidfile", metavar="FILE", group=_OUT, summary="Write the image's id to a file"),
    Option(name="metadata-file", metavar="FILE", group=_OUT, summary="Write digests and names to a file, as JSON"),
    Option(name="no-cache", kind="flag", group=_HOW, summary="Perform every step anew"),
    Option(name="no-cache-filter", kind="list", metavar="STAGE[,…]", group=_HOW, summary="Perform these stages anew"),
    Option(name="pull", kind="flag", group=_HOW, summary="Ask the registry for base images, even if they are here"),
    Option(name="jobs", metavar="N", group=_HOW, summary="How many stages at once (default: as many as processors)"),
    Option(
        name="isolation",
        metavar="KIND",
        choices=("auto", "overlay", "fuse-overlayfs", "copy"),
        group=_HOW,
        summary="How root file systems are made",
    ),
    Option(
        name="userns",
        metavar="KIND",
        choices=("auto", "subid", "single", "none"),
        group=_HOW,
        summary="How users and groups of the image are mapped to this machine's",
    ),
    Option(name="check", kind="flag", group=_HOW, summary="Build nothing, and say what is odd about the Dockerfile"),
    Option(
        name="call",
        metavar="METHOD[,format=FORMAT]",
        group=_HOW,
        summary="Build nothing, and print: check (text, json, sarif, github), outline or targets (text, json)",
    ),
    Option(name="progress", metavar="KIND", choices=MODES, group=_HOW, summary="How progress is shown"),
    Option(name="quiet", short="q", kind="flag", group=_HOW, summary="Show nothing but the image's id"),
    # What these say is true anyway: there is no attestation, and no container is left.
    Option(name="attest", kind="list", hidden=True),
    Option(name="sbom", kind="list", hidden=True),
    Option(name="provenance", kind="list", hidden=True),
    Option(name="rm", kind="flag", hidden=True),
    Option(name="force-rm", kind="flag", hidden=True),
    _refused("cache-from", "no cache is read from elsewhere", "the store is the cache: keep it with --root FOLDER"),
    _refused("cache-to", "no cache is written elsewhere", "the store is the cache: keep it with --root FOLDER"),
    _refused("print", "it is buildx's old name of --call"),
    _refused("policy", "there are no policies"),
    _refused("builder", "there are no builder instances, only this process"),
    _refused("compress", "no context is sent anywhere, so none is compressed", "leave it out", kind="flag"),
    _refused(
        "squash", "layers are kept as they are made", "take what is wanted into one stage with COPY --from", kind="flag"
    ),
    _refused("security-opt", "BuildKit has none", "write RUN --security=insecure, and allow it with --allow"),
    _refused("resource", "each limit has an option of its own", "--memory, --cpu-quota, --cpuset-cpus …"),
)
