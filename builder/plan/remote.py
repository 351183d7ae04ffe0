"""What ADD fetches: files by HTTP, trees of git repositories.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_copy.go
"""

from __future__ import annotations

from builder.dockerfile.instructions import Add, Word
from builder.errors import DockerfileError, ImageError
from builder.image.names import Digest
from builder.plan.findings import mistake
from builder.plan.git import BadGitRef, GitRef, parse_git
from builder.plan.steps import GitTree, RemoteFile


def git_ref(text: str, word: Word) -> GitRef | None:
    """The git repository that *text*, written as *word*, names; None if it names none."""
    try:
        return parse_git(text)
    except BadGitRef as e:
        raise mistake(str(e), word.span, "invalid-git-url") from None


def git_tree(add: Add, word: Word, url: str, ref: GitRef, checksum: str) -> GitTree:
    """What *add* fetches of the repository *ref*, written as *word* and expanded to *url*."""
    keep = add.keep_git_dir
    if keep is not None and ref.keep_git_dir is not None and keep != ref.keep_git_dir:
        raise mistake("inconsistent keep-git-dir configuration", word.span, "invalid-git-url")
    if checksum and ref.checksum and checksum != ref.checksum:
        raise mistake(f'checksum mismatch "{checksum}" != "{ref.checksum}"', word.span, "invalid-checksum")
    return GitTree(
        url=url,
        remote=ref.remote,
        ref=ref.ref,
        subdir=ref.subdir,
        commit=ref.checksum or checksum,
        keep_git_dir=bool(keep if ref.keep_git_dir is None else ref.keep_git_dir),
        submodules=ref.submodules is not False,
        fetch_by_commit=ref.fetch_by_commit,
        commit_times=ref.commit_times,
    )


def remote_file(add: Add, url: str, checksum: str) -> RemoteFile:
    """The file behind *url*, as *add* fetches it."""
    return RemoteFile(url=url, name=_file_name(url), checksum=_digest(add, checksum))


def _digest(add: Add, checksum: str) -> str:
    if not checksum:
        return ""
    try:
        return Digest.parse(checksum)
    except ImageError as e:
        word = add.checksum
        raise DockerfileError(
            f"invalid checksum: {e.message}",
            code="invalid-checksum",
            where=word.span if word else add.span,
            hint="write it as sha256: and 64 hexadecimal digits",
        ) from None


def _file_name(url: str) -> str:
    """The name that a URL's path ends in."""
    from urllib.parse import unquote, urlsplit  # slow to import, and few Dockerfiles have a URL

    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        path = ""
    name = path.rstrip("/").rpartition("/")[2]
    return name if name not in ("", ".", "..") and "\0" not in name else "__unnamed__"
