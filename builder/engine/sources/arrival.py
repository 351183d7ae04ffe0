"""Contexts that are no folders yet: a tar on a stream, a tarball, a URL, a git repository. Each becomes a folder.

Owners in them mean nothing: what a context holds belongs to 0:0 in the image, so files are made as the caller's.

source   docker buildx build reference, "Build context"; BuildKit, frontend/dockerui/context.go (DetectHTTPContext)
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.sources.fetch import fetch
from builder.errors import BuilderError, ContextError
from builder.plan.git import BadGitRef, parse_git
from builder.plan.steps import GitTree, RemoteFile

if TYPE_CHECKING:
    from builder.engine.sources.fetched import Fetched
    from builder.engine.world import Settings
    from builder.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A context in a folder; ``dockerfile`` if what came was a Dockerfile and nothing else.

    fetched   what it came as, where it came from elsewhere
    """

    folder: Path
    dockerfile: bytes | None = None
    fetched: Fetched | None = None


def arrive(
    written: str,
    stream: int | None,
    store: Store,
    settings: Settings,
    *,
    keep_git_dir: bool = False,
    commit_times: bool = False,
) -> Arrived:
    """The context that *written* names, as a folder.

    stream   a descriptor at the beginning of a tar, for ``-``; None: the context is empty
    keep_git_dir, commit_times   of a git repository, where its URL does not say otherwise
    raises   ContextError
    """
    if written == "-":
        return Arrived(folder=_from_stream(stream, store))
    remote = _remote(written, keep_git_dir=keep_git_dir, commit_times=commit_times)
    if isinstance(remote, GitTree):
        fetched = fetch(remote, store.tmp(), settings)
        return Arrived(folder=fetched.path(), fetched=fetched)
    if isinstance(remote, RemoteFile):
        fetched = fetch(remote, store.tmp(), settings)
        return replace(_from_file(fetched.path(), written, store), fetched=fetched)
    path = Path(written)
    try:
        status = path.stat()
    except OSError as e:
        raise ContextError(
            f"the build context {written} cannot be opened: {e.strerror}",
            code="no-context",
            hint="name a folder, as in: pybuild .",
        ) from None
    if os.path.isdir(path):
        return Arrived(folder=path)
    if not os.path.isfile(path):
        raise ContextError(f"the build context {written} is neither a folder nor a tarball", code="no-context")
    if status.st_size == 0:
        raise ContextError(f"the build context {written} is empty", code="no-context")
    return _from_file(path, written, store, tarball=True)


def arrive_further(written: str, store: Store, settings: Settings) -> Arrived:
    """A ``--build-context``. What a URL brings is a file called ``context``, whatever it is.

    raises   ContextError
    source   BuildKit, frontend/dockerui/namedcontext.go, load
    """
    remote = _remote(written)
    if not isinstance(remote, RemoteFile):
        return arrive(written, None, store, settings)
    folder = store.tmp()
    fetched = fetch(remote, store.tmp(), settings)
    os.link(fetched.path(), folder / "context")
    return Arrived(folder=folder, fetched=fetched)


def _remote(written: str, *, keep_git_dir: bool = False, commit_times: bool = False) -> GitTree | RemoteFile | None:
    try:
        git = parse_git(written)
    except BadGitRef as e:
        raise ContextError(f"the build context {written}: {e}", code="no-context") from None
    if git is not None:
        return GitTree(
            url=written,
            remote=git.remote,
            ref=git.ref,
            subdir=git.subdir,
            commit=git.checksum,
            keep_git_dir=keep_git_dir if git.keep_git_dir is None else git.keep_git_dir,
            submodules=git.submodules is not False,
            fetch_by_commit=git.fetch_by_commit,
            commit_times=git.commit_times or commit_times,
        )
    if written.startswith(("http://", "https://")):
        return RemoteFile(url=written, name="context")
    return None


def _from_stream(stream: int | None, store: Store) -> Path:
    folder = store.tmp()
    if stream is not None:
        with open(stream, "rb", closefd=False) as file:
            _extract(file, folder, "the context on stdin")
            while file.read(1 << 20):  # whoever writes it, and padded it, is not to find the pipe broken
                pass
    return folder


def _from_file(path: Path, written: str, store: Store, *, tarball: bool = False) -> Arrived:
    from builder.layer.extract import is_archive

    folder = store.tmp()
    with open(path, "rb") as file:
        archive = is_archive(file)
        file.seek(0)
        if archive:
            _extract(file, folder, written)
            return Arrived(folder=folder)
        if tarball:
            raise ContextError(f"the build context {written} is neither a folder nor a tarball", code="no-context")
        return Arrived(folder=folder, dockerfile=file.read())


def _extract(file: object, folder: Path, shown: str) -> None:
    from typing import BinaryIO, cast

    from builder.layer.extract import extract

    try:
        extract(cast(BinaryIO, file), folder, "/", owner=(os.geteuid(), os.getegid()))
    except BuilderError as e:
        raise ContextError(f"{shown} cannot be unpacked: {e.message}", code="bad-context", hint=e.hint) from None
