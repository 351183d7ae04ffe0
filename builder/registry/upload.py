"""One blob on its way to a registry.

source   OCI distribution-spec v1.1, "Pushing blobs", "Pushing a blob in chunks", "Mounting a blob from another
         repository"
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from urllib3.exceptions import HTTPError

from builder.errors import RegistryError
from builder.image.documents import Descriptor
from builder.registry.auth import Scopes
from builder.registry.client import pull_scope
from builder.registry.failures import may_pass, said, unreachable
from builder.registry.origins import Origin, Request
from builder.registry.parallel import Stopped
from builder.registry.session import Session
from builder.registry.transport import FIRST_PAUSE, LONGEST_PAUSE, RETRIED, Answer, asked_pause

CHUNK = 16 << 20
"""Bytes of a chunk, where a registry or what stands before it refuses a whole blob in one request."""
MOST_TRIES = 8
"""Tries in a row that sent nothing new."""
MOST_MOUNTS = 3
THERE = "already there"
_REPORTED = 1 << 20
_LEAST = 64 << 10
_ACCEPTED = frozenset({201, 202, 204})


@dataclass(frozen=True, slots=True)
class _At:
    """Where an upload stands. ``url`` is valid for the next request alone."""

    url: str
    offset: int = 0


class Piece:
    """A part of a file as a request's body."""

    def __init__(self, file: BinaryIO, at: int, size: int, sent: Callable[[int], None], stop: threading.Event) -> None:
        self._file = file
        self._at, self._end = at, at + size
        self._told = at
        self._sent = sent
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; Stopped if nobody wants them any more."""
        if self._stop.is_set():
            raise Stopped
        left = self._end - self._at
        # pread(2): a request that is sent again shares the file with the one that failed.
        data = os.pread(self._file.fileno(), left if size < 0 else min(size, left), self._at)
        self._at += len(data)
        if self._at - self._told >= _REPORTED:
            self._told = self._at
            self._sent(self._at)
        return data


class Upload:
    """Sends one blob; made for each.

    repository  its path at the registry
    sent        gets the number of bytes that are on their way
    stop        set when the upload should end early
    budget      seconds for tries in a row that send nothing new
    """

    def __init__(
        self,
        session: Session,
        repository: str,
        descriptor: Descriptor,
        path: Path,
        *,
        sent: Callable[[int], None],
        stop: threading.Event,
        budget: float,
    ) -> None:
        self._session = session
        self._url = f"{session.base}/v2/{repository}/blobs"
        self._scopes = push_scope(repository)
        self._descriptor = descriptor
        self._path = path
        self._sent = sent
        self._stop = stop
        self._budget = budget
        self._chunk = 0
        # What a registry says of its progress may go up and down without end.
        self._begun = 0
        self._steps_left = 8 * MOST_TRIES + 2 * descriptor.size // _LEAST

    def run(self, sources: Sequence[str]) -> str:
        """See to it that the registry has the blob: it has it, can take it from one of *sources*, or gets it.

        returns  "" if it was sent, else why it had not to be: ``already there``, ``mounted from REPOSITORY``
        raises   RegistryError ``broken-upload``, ``refused`` …; Stopped
        """
        if self._is_there():
            return THERE
        at = self._mount(sources)
        if isinstance(at, str):
            return at
        try:
            with self._path.open("rb", buffering=0) as file:
                self._send(file, at)
        except FileNotFoundError:
            raise RegistryError(f"{self._descriptor.digest} is not at {self._path}", code="missing-blob") from None
        return ""

    def _is_there(self) -> bool:
        answer = self._session.fetch(
            "HEAD", f"{self._url}/{self._descriptor.digest}", self._scopes, expect=frozenset({200, 404})
        )
        return answer.status == 200

    def _mount(self, sources: Sequence[str]) -> _At | str:
        """Where to send the blob; or that the registry took it from another repository, in words."""
        for source in sources[:MOST_MOUNTS]:
            query = f"?mount={quote(self._descriptor.digest, safe=':')}&from={quote(source)}"
            try:
                at = self._begin(query, self._scopes | pull_scope(source))
            except RegistryError as e:
                if e.code not in ("unauthorized", "denied", "not-found"):
                    raise
                continue  # who may not read the source sends the blob
            return at or f"mounted from {source}"
        return self._begin("", self._scopes) or THERE

    def _begin(self, query: str, scopes: Scopes) -> _At | None:
        answer = self._session.fetch(
            "POST",
            f"{self._url}/uploads/{query}",
            scopes,
            headers={"Content-Length": "0"},
            body=b"",
            expect=frozenset({201, 202}),
        )
        if answer.status == 201:
            return None
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if self._chunk and least.isdecimal():
            self._chunk = max(self._chunk, int(least[:12]))
        return _At(self._location(answer))

    def _send(self, file: BinaryIO, at: _At) -> None:
        tries, deadline = 0, time.monotonic() + self._budget
        while True:
            pause = min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE)
            before, why = at.offset, ""
            try:
                answer, at = self._step(file, at)
                if answer.status == 201:
                    self._check(answer)
                    return
                if answer.status == 202 and self._advanced(before, at):
                    tries, deadline = 0, time.monotonic() + self._budget
                    continue
                if answer.status == 413 and not self._chunk:
                    self._chunk, pause = CHUNK, 0.0
                elif answer.status not in RETRIED and answer.status not in (202, 404, 416):
                    raise self._session.refusal("PUT", answer)
                pause = max(pause, asked_pause(answer.headers))
                why = f"the registry answered {answer.status}"
            except (HTTPError, OSError) as e:
                if not may_pass(e):
                    raise unreachable("PUT", at.url, e) from None
                why = said(e)
            tries += 1
            if tries >= MOST_TRIES or self._steps_left < 0 or time.monotonic() + pause > deadline:
                raise self._broken(why, at)
            if self._stop.wait(pause):
                raise Stopped
            if self._is_there():
                return  # it arrived; only the answer was lost
            at = self._again(at)
            if self._advanced(before, at):
                tries, deadline = 0, time.monotonic() + self._budget

    def _advanced(self, before: int, at: _At) -> bool:
        """Whether the registry has got on: a registry that takes a byte at a time would keep us for ever."""
        return at.offset - before >= _LEAST or (at.offset == self._descriptor.size and at.offset > before)

    def _step(self, file: BinaryIO, at: _At) -> tuple[Answer, _At]:
        """Send the whole blob, or a chunk of what is missing, or finish."""
        self._steps_left -= 1
        size = self._descriptor.size
        whole = at.offset == 0 and not self._chunk
        finishing = whole or at.offset == size
        count = size if whole else min(size - at.offset, self._chunk or size)
        headers = {"Content-Length": str(count), "Content-Type": "application/octet-stream"}
        if not finishing:
            headers["Content-Range"] = f"{at.offset}-{at.offset + count - 1}"
        url = self._finishing(at.url) if finishing else at.url
        method = "PUT" if finishing else "PATCH"
        answer = self._session.send(
            method, url, self._scopes, headers, lambda: Piece(file, at.offset, count, self._sent, self._stop)
        )
        if answer.status in (200, 201, 204) and finishing:
            return replace(answer, status=201), at
        if answer.status in _ACCEPTED and not finishing:
            end = _end(answer, at.offset + count)
            if end > size:
                raise self._broken(f"the registry has {end} bytes of {size}", at)
            return replace(answer, status=202), _At(self._location(answer), end)
        return answer, at

    def _again(self, at: _At) -> _At:
        """Where the upload stands after a failure; a new one if the registry has lost it."""
        try:
            answer = self._session.fetch("GET", at.url, self._scopes, expect=frozenset({200, 202, 204}))
            offset = _end(answer, 0)
            if 0 < offset <= self._descriptor.size:
                return _At(self._location(answer, at.url), offset)
        except RegistryError as e:
            if e.code in ("unreachable", "rate-limited"):
                raise
        self._begun += 1
        if self._begun > MOST_TRIES:
            raise self._broken("the registry lost what it had, again and again", at)
        begun = self._begin("", self._scopes)
        if begun is None:
            raise self._broken("the registry mounts what nobody asked it to mount", at)
        return begun

    def _location(self, answer: Answer, default: str = "") -> str:
        """Where the next request goes: perhaps to another server, but never from TLS to none."""
        location = answer.headers.get("Location", default)
        if not location:
            raise self._broken("the registry does not say where to send it", _At(answer.url))
        base = Origin.of(self._session.base)
        url = urljoin(answer.url, location)
        found = Origin.of(url)
        if base.scheme == "https" and found.scheme == "http":
            if found.host != base.host:
                raise RegistryError(
                    "the registry redirects to an unencrypted address", code="redirect", where=Request("PUT", url)
                )
            # A registry behind a proxy that speaks TLS for it may not know that.
            url = urljoin(self._session.base, urlsplit(url)._replace(scheme="", netloc="").geturl())
        return url

    def _finishing(self, url: str) -> str:
        return f"{url}{'&' if urlsplit(url).query else '?'}digest={quote(self._descriptor.digest, safe=':')}"

    def _check(self, answer: Answer) -> None:
        if answer.headers.get("Docker-Content-Digest", self._descriptor.digest) != self._descriptor.digest:
            raise RegistryError(
                f"{self._session.name}: the registry stored something else than {self._descriptor.digest}",
                code="digest-mismatch",
                where=Request("PUT", self._url),
            )

    def _broken(self, why: str, at: _At) -> RegistryError:
        return RegistryError(
            f"{self._session.name}: the upload of {self._descriptor.digest} broke off: {why}",
            code="broken-upload",
            where=Request("PUT", at.url),
            hint="try again: what the registry has is not sent again",
        )


def _end(answer: Answer, default: int) -> int:
    """How many bytes the registry has, by its ``Range: 0-LAST``; *default* if it does not say."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.headers.get("Range", "").strip())
    if found is None:
        return default
    # "0-0" is also what an upload without any byte says (distribution/distribution).
    return int(found[1]) + 1 if found[1] != "0" else min(default, 1)


def push_scope(repository: str) -> Scopes:
    """What a token must allow for writing to a repository."""
    return frozenset({f"repository:{repository}:pull,push"})
