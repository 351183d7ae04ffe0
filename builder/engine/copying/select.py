"""Which files COPY and ADD take: from patterns to matches, and from a matched folder to what is in it.

Nothing here writes, or reads a file's content. The rules are BuildKit's, whose solver walks the source twice with the
same patterns, once to hash and once to copy; here both take what this module yields.

source   BuildKit, frontend/dockerfile/dockerfile2llb/convert_copy.go and solver/llbsolver/file/backend.go;
         tonistiigi/fsutil, copy/copy.go
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from builder.dockerfile.ignore import IgnoreFile
from builder.dockerfile.source import Span
from builder.engine.sources.patterns import BadPattern, Reach, clean, has_wildcards, match_expression
from builder.engine.sources.source import SourceRoot, TooManyLinks, join, resolve, split
from builder.errors import ContextError, DockerfileError
from builder.plan.steps import CopyStep


@dataclass(frozen=True, slots=True)
class Match:
    """A source that was found.

    name    what it is called: the last component as the pattern found it, even if that is a link to something else
    path    where it is, relative to the root, no link in it; "" is the root itself
    """

    name: str
    path: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Whether its contents are copied rather than itself."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(slots=True)
class Picked:
    """Something in a matched folder that is copied; a folder comes before what is in it. Not frozen: there are many.

    folder  path of the folder it is in, relative to the root;  inner: the same relative to the match ("" at its top)
    late    a folder that no pattern took, there only for the sake of what is in it
    """

    folder: str
    inner: str
    name: str
    status: os.stat_result
    late: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a step, taken apart.

    pattern   cleaned; has wildcards or not
    exclude   ``--exclude``: what is left out of a folder; None for nothing
    include   ``--parents``: what is kept below ``pattern``, which is then the pivot's folder, or the root
    reach     whether ``include`` may match below a folder
    required  ``--parents`` without wildcards: the path that must be among what is taken, or None
    """

    pattern: str
    exclude: IgnoreFile | None = None
    include: IgnoreFile | None = None
    reach: Callable[[str], bool] = lambda _: True
    required: str | None = None


def sources(step: CopyStep) -> Iterator[Source]:
    """The step's sources in order.

    raises   DockerfileError if a pattern is malformed
    """
    exclude = excluded_by(step)
    for text in step.sources:
        try:
            yield _parents(text, exclude, step.where) if step.parents else Source(_checked(clean(text)), exclude)
        except BadPattern as e:
            raise DockerfileError(str(e), code="bad-pattern", where=step.where) from None


def excluded_by(step: CopyStep) -> IgnoreFile | None:
    """The patterns of ``--exclude``."""
    return IgnoreFile.of(step.excludes, step.where) if step.excludes else None


def _parents(text: str, exclude: IgnoreFile | None, where: Span) -> Source:
    above, pivot, rest = text.partition("/./")
    if not pivot:
        above, rest = "", text
    kept = clean(rest)
    plain = not has_wildcards(above) and not has_wildcards(rest)
    return Source(
        pattern=_checked(clean(above)),
        exclude=exclude,
        include=IgnoreFile.of((kept,), where),  # of no pattern, nothing: so BuildKit has it
        reach=Reach(kept),
        required=clean(f"{above}/{rest}") if plain else None,
    )


def _checked(pattern: str) -> str:
    if has_wildcards(pattern):
        match_expression(pattern)
    return pattern


def matches(root: SourceRoot, source: Source, where: Span) -> Iterator[Match]:
    """What the source's pattern finds, links followed. A pattern that finds nothing is no error, a plain path is.

    raises   ContextError, code ``source-not-found``
    """
    fixed, wild = _split_wildcards(source.pattern)
    try:
        if not wild:
            yield _found(root, fixed, fixed, where)
            return
        base = resolve(root, fixed)
        status = root.lstat(base)
        if status is None:
            raise _missing(root, fixed, where)
        if not stat.S_ISDIR(status.st_mode):
            return
        for path in _matching(root, base, wild):
            found = _found(root, path, path, where)
            # Of a context BuildKit is sent what the whole pattern matches: with ``*/./sub`` no file beside the folders.
            if found.is_folder or source.include is None or root.owners:
                yield found
    except TooManyLinks as e:
        raise ContextError(f'"/{e}": too many links', code="link-loop", where=where) from None


def _split_wildcards(pattern: str) -> tuple[str, str]:
    """What is before the first component with wildcards, and the rest."""
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        if has_wildcards(part):
            return "/".join(parts[:index]), "/".join(parts[index:])
    return pattern, ""


def _found(root: SourceRoot, named: str, path: str, where: Span) -> Match:
    real = resolve(root, path)
    status = root.lstat(real)
    if status is None:
        raise _missing(root, named, where)
    return Match(split(named)[1], real, status)


def _matching(root: SourceRoot, base: str, wild: str) -> Iterator[str]:
    """Paths below *base* that match, in the order of filepath.Walk; nothing is sought inside a folder that matched."""
    whole, crossing = match_expression(wild)
    parts = wild.split("/")
    # A class can match "/", and then a match may lie at any depth; else only at one.
    steps = None if crossing else [match_expression(part)[0] for part in parts]
    waiting = [("", iter(root.entries(base).items()))]
    while waiting:
        folder, found = waiting[-1]
        item = next(found, None)
        if item is None:
            waiting.pop()
            continue
        name, status = item
        inner = join(folder, name)
        if whole.fullmatch(inner):
            yield join(base, inner)
        elif stat.S_ISDIR(status.st_mode):
            depth = len(waiting)
            if steps is None or (depth < len(steps) and steps[depth - 1].fullmatch(name)):
                waiting.append((inner, iter(root.entries(join(base, inner)).items())))


def below(root: SourceRoot, match: Match, source: Source, where: Span) -> Iterator[Picked]:
    """What a match gives beside itself: a folder's contents, folders before what is in them, names in order.

    raises   ContextError, code ``source-not-found``, if a path that must be there isn't (``--parents``)
    """
    required = source.required
    seen = required is None
    if match.is_folder:
        for picked in _Walk(root, match, source):
            if not seen and required is not None:
                seen = join(source.pattern, join(picked.inner, picked.name)).startswith(required)
            yield picked
    if not seen:
        raise _missing(root, required or "", where)


class _Walk:
    """The recursion of fsutil's copier, as an iterator.

    An excluded folder is looked into only if an exception (``!``) may take something back, and a folder that no
    ``--parents`` pattern took only if one may match inside; such folders come late, before the first thing in them.
    """

    def __init__(self, root: SourceRoot, match: Match, source: Source) -> None:
        self._root = root
        self._match = match
        self._source = source

    def __iter__(self) -> Iterator[Picked]:
        filtered = self._source.include is not None or self._source.exclude is not None
        late: list[Picked] = []
        waiting = [self._frame(self._match.path, "", 0)]
        while waiting:
            frame = waiting[-1]
            item = next(frame.found, None)
            if item is None:
                waiting.pop()
                # What is still late when its folder is left had nothing in it.
                del late[frame.late :]
                continue
            name, status = item
            is_folder = stat.S_ISDIR(status.st_mode)
            inner = join(frame.inner, name) if filtered or is_folder else ""
            included, entered = self._judge(inner) if filtered else (True, True)
            if included:
                if late:
                    yield from late
                    late.clear()
                yield Picked(frame.path, frame.inner, name, status)
            if is_folder and entered:
                if not included:
                    late.append(Picked(frame.path, frame.inner, name, status, late=True))
                waiting.append(self._frame(join(frame.path, name), inner, len(late) - (not included)))

    def _frame(self, path: str, inner: str, late: int) -> _Frame:
        return _Frame(path, inner, iter(self._root.entries(path).items()), late)

    def _judge(self, inner: str) -> tuple[bool, bool]:
        """Whether *inner* is taken, and whether it is looked into if it is a folder."""
        include, exclude = self._source.include, self._source.exclude
        excluded = exclude is not None and exclude.decide(inner).ignored
        if excluded and exclude is not None and not exclude.has_exceptions:
            return False, False
        included = include is None or include.decide(inner).ignored
        return included and not excluded, included or self._source.reach(inner)


@dataclass(slots=True)
class _Frame:
    """A folder that is being walked; ``late`` is how many late folders were known when it was entered."""

    path: str
    inner: str
    found: Iterator[tuple[str, os.stat_result]]
    late: int


def _missing(root: SourceRoot, path: str, where: Span) -> ContextError:
    return ContextError(
        f'"/{path}": not found', code="source-not-found", where=where, hint=root.why_missing(path) or _near(root, path)
    )


def _near(root: SourceRoot, path: str) -> str | None:
    """A name that was perhaps meant: the nearest one in the deepest folder that exists."""
    from difflib import get_close_matches  # only when a build fails

    done = ""
    for part in path.split("/"):
        status = root.lstat(join(done, part))
        if status is None or not stat.S_ISDIR(status.st_mode):
            break
        done = join(done, part)
    else:
        return None
    try:
        names = [name for name in root.entries(done) if name != part]
    except ContextError:
        return None
    near = get_close_matches(part, names, n=1) or [name for name in names if name.lower() == part.lower()]
    return f'did you mean "/{join(done, near[0])}"?' if near else None
