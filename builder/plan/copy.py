"""COPY and ADD: what comes from where, and where it goes.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_copy.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from builder.dockerfile.instructions import Add, Copy, Heredoc, Transfer, Word
from builder.plan.findings import bounded, mistake
from builder.plan.lint import check_ignored
from builder.plan.paths import as_target
from builder.plan.remote import git_ref, git_tree, remote_file
from builder.plan.state import Job, StageState
from builder.plan.steps import ContextInput, CopyStep, GitTree, InlineFile, RemoteFile
from builder.plan.titles import title

_OCTAL = re.compile(r"[0-7]{1,32}")
_CLAUSE = r"[augo]*(?:[-+=][rwxXstugo]*)+"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE})*")


@dataclass(slots=True)
class _Sources:
    """The words before the target, by what they are."""

    patterns: list[str] = field(default_factory=list)
    remote: list[RemoteFile] = field(default_factory=list)
    git: list[GitTree] = field(default_factory=list)
    order: list[str] = field(default_factory=list)


def copy(state: StageState, instruction: Copy, job: Job) -> StageState:
    """The stage after COPY."""
    return _transfer(state, instruction, job)


def add(state: StageState, instruction: Add, job: Job) -> StageState:
    """The stage after ADD."""
    return _transfer(state, instruction, job)


def _transfer(state: StageState, instruction: Transfer, job: Job) -> StageState:
    chown, chmod = _flag(state, instruction.chown, job), _flag(state, instruction.chmod, job)
    checksum = _flag(state, instruction.checksum, job) if isinstance(instruction, Add) else ""
    words = [(word, job.expand(state, word)) for word in instruction.sources]
    target = job.expand(state, instruction.target)
    inline = tuple(_inline(state, document, job) for document in instruction.heredocs)
    if chmod and instruction.chmod is not None:
        _check_mode(chmod, instruction.chmod)
    if checksum and isinstance(instruction, Add) and instruction.checksum is not None:
        _check_checksum(words, instruction.checksum)
    sources = _sorted_out(instruction, words, checksum)
    taken = job.inputs[0] if job.inputs else None
    for pattern in sources.patterns if taken is None else ():
        check_ignored(job, pattern)
    path, is_folder = as_target(state.cwd, target)
    bounded(path, "the destination", instruction.target.span)
    adds = isinstance(instruction, Add)
    unpack = instruction.unpack if isinstance(instruction, Add) else None
    step = CopyStep(
        title=title(instruction.original, state.env, job.scope.escape),
        where=instruction.span,
        number=job.number,
        input=taken or ContextInput(),
        sources=tuple(sources.patterns),
        inline=inline,
        remote=tuple(sources.remote),
        git=tuple(sources.git),
        target=path,
        target_is_folder=is_folder,
        owner=chown or None,
        mode=chmod or None,
        # BuildKit makes a layer of its own only where no mode is asked for.
        link=bool(instruction.link) and not chmod,
        parents=bool(instruction.parents),
        excludes=tuple(word.text for word in instruction.excludes),
        unpack=(True if unpack is None else unpack) if adds else None,
        unpack_remote=unpack is True,
        order=tuple(sources.order) if len(set(sources.order)) > 1 else (),
    )
    return state.stepped(_history(instruction, chown, chmod, words, target), job.created, step)


def _flag(state: StageState, word: Word | None, job: Job) -> str:
    return job.expand(state, word) if word is not None else ""


def _inline(state: StageState, document: Heredoc, job: Job) -> InlineFile:
    content = document.content
    if not document.quoted:
        content = job.expand_document(state, content, document.span)
    return InlineFile(name=document.name, content=content)


def _history(instruction: Transfer, chown: str, chmod: str, words: list[tuple[Word, str]], target: str) -> str:
    said = [
        "ADD" if isinstance(instruction, Add) else "COPY",
        *(["--parents"] if instruction.parents else []),
        *([f"--chown={chown}"] if chown else []),
        *([f"--chmod={chmod}"] if chmod else []),
        *(text for _, text in words),
        *(f"<<{document.name}" for document in instruction.heredocs),
        target,
        "# buildkit",
    ]
    return " ".join(said)


def _check_mode(mode: str, word: Word) -> None:
    octal = _OCTAL.fullmatch(mode)
    if octal and int(mode, 8) <= 0o7777:
        return
    if octal or mode[0].isdigit():
        said = f"invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
    elif not _SYMBOLIC.fullmatch(mode):
        said = f"invalid chmod parameter: '{mode}': invalid syntax"
    else:
        return
    raise mistake(said, word.span, "invalid-mode", "write it as 755, or as u=rwx,go=rx")


def _check_checksum(words: list[tuple[Word, str]], checksum: Word) -> None:
    if len(words) != 1:
        raise mistake("checksum can't be specified for multiple sources", checksum.span, "invalid-checksum")
    word, text = words[0]
    if not text.startswith(("http://", "https://")) and git_ref(text, word) is None:
        raise mistake("checksum requires HTTP(S) or Git sources", checksum.span, "invalid-checksum")


def _sorted_out(instruction: Transfer, words: list[tuple[Word, str]], checksum: str) -> _Sources:
    found = _Sources()
    for word, text in words:
        if ref := git_ref(text, word):
            if not isinstance(instruction, Add):
                raise mistake("source can't be a git ref for COPY", word.span, "remote-source", "ADD can fetch it")
            found.order.append("git")
            found.git.append(git_tree(instruction, word, text, ref, checksum))
        elif text.startswith(("http://", "https://")):
            if not isinstance(instruction, Add):
                raise mistake("source can't be a URL for COPY", word.span, "remote-source", "ADD can fetch it")
            found.order.append("remote")
            found.remote.append(remote_file(instruction, text, checksum))
        else:
            found.order.append("sources")
            found.patterns.append(text or ".")
    return found
