"""Git repositories as sources of ADD.

source   BuildKit, frontend/dockerfile/dfgitutil/git_ref.go, util/gitutil/git_url.go, util/sshutil/scpurl.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from builder.dockerfile.numbers import truth
from builder.plan.paths import clean

_PROTOCOL = re.compile(r"([A-Za-z0-9]+)://")
_SCP_STYLE = re.compile(r"([A-Za-z0-9_-]+@[A-Za-z0-9.-]+:[^?#\n]*)(?:\?([^#\n]*))?(?:#(.*))?")
_BARE_KEYS = ("submodules", "keep-git-dir", "fetch-by-commit")


class BadGitRef(ValueError):
    """What is wrong with the query of a git URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    """A repository and what is wanted of it. ``keep_git_dir`` and ``submodules`` are None where the URL is silent."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    fetch_by_commit: bool = False
    commit_times: bool = False


def parse_git(text: str) -> GitRef | None:
    """The repository that *text* names, or None if it names none: ``https://…`` without ``.git`` is a plain URL.

    raises   BadGitRef if it is a git URL whose query says something impossible
    """
    parts = _take_apart(text)
    if parts is None:
        return None
    remote, query, fragment = parts
    ref, _, subdir = fragment.partition(":")
    return _with_query(GitRef(remote=remote, ref=ref, subdir=clean(subdir)[1:]), query)


def _take_apart(text: str) -> tuple[str, str, str] | None:
    """Remote, query and fragment."""
    protocol = _PROTOCOL.match(text)
    if protocol is None:
        scp = _SCP_STYLE.fullmatch(text)
        return (scp[1], scp[2] or "", scp[3] or "") if scp else None
    scheme = protocol[1].lower()
    if scheme not in ("http", "https", "ssh", "git"):
        return None
    rest, _, fragment = text.partition("#")
    remote, _, query = rest.partition("?")
    path = remote[protocol.end() :].partition("/")[2]
    if scheme in ("http", "https") and not _decoded(path).endswith(".git"):
        return None
    return remote, query, _decoded(fragment)


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # rare, and slow to import

    return unquote(text)


def _with_query(found: GitRef, query: str) -> GitRef:
    if not query:
        return found
    from urllib.parse import parse_qs  # only few git URLs have a query

    wanted: dict[str, str] = {}
    for key, values in parse_qs(query, keep_blank_values=True, max_num_fields=100).items():
        if len(values) > 1:
            raise BadGitRef(f'query "{key}" has multiple values')
        if not values[0] and key not in _BARE_KEYS:
            raise BadGitRef(f'query "{key}" has no value')
        if key not in (*_BARE_KEYS, "ref", "tag", "branch", "subdir", "checksum", "commit", "mtime"):
            raise BadGitRef(f'unexpected query "{key}"')
        wanted[key] = values[0]
    for key, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in wanted:
            found = _with_ref(found, key, prefix, wanted)
    if wanted.get("mtime", "checkout") not in ("checkout", "commit"):
        raise BadGitRef(f'invalid mtime value: "{wanted["mtime"]}" (must be "checkout" or "commit")')
    subdir = wanted.get("subdir", found.subdir)
    if found.subdir and subdir != found.subdir:
        raise BadGitRef(f'subdir conflicts: "{found.subdir}" vs "{subdir}"')
    return replace(
        found,
        subdir=subdir,
        checksum=wanted.get("commit", wanted.get("checksum", "")),
        keep_git_dir=_flag(wanted, "keep-git-dir"),
        submodules=_flag(wanted, "submodules"),
        fetch_by_commit=_flag(wanted, "fetch-by-commit") or False,
        commit_times=wanted.get("mtime") == "commit",
    )


def _with_ref(found: GitRef, key: str, prefix: str, wanted: dict[str, str]) -> GitRef:
    if key == "branch" and "tag" in wanted:
        raise BadGitRef("branch conflicts with tag")
    ref = wanted[key] if wanted[key].startswith(prefix) else prefix + wanted[key]
    if found.ref and found.ref != ref:
        raise BadGitRef(f'ref conflicts: "{found.ref}" vs "{ref}"')
    return replace(found, ref=ref)


def _flag(wanted: dict[str, str], key: str) -> bool | None:
    if key not in wanted:
        return None
    value = True if not wanted[key] else truth(wanted[key])
    if value is None:
        raise BadGitRef(f'invalid {key} value: "{wanted[key]}"')
    return value
