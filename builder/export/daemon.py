"""Into a running Docker daemon, where one answers: the archive goes over its socket as it is written, never to a file.

source   Docker Engine API v1.24, "POST /images/load"; docker/cli, "Environment variables" (DOCKER_HOST)
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import BuilderError, HostError
from builder.export.archive import manifest_json, write_archive
from builder.export.layout import NamedImage, Report, nothing

_ANSWER_LIMIT = 1 << 20
_TAR = {"Content-Type": "application/x-tar"}


def load_into_daemon(images: Sequence[NamedImage], environment: Mapping[str, str], *, report: Report = nothing) -> int:
    """Give *images* to the daemon that *environment* names, or the one of this machine; the archive's bytes.

    raises   HostError ``no-daemon`` if none answers, ``daemon-refused`` if it does not take the image;
             ImageError ``several-platforms``
    """
    manifest_json(images)  # what does not fit an archive is told before anything is sent
    connection = _connect(environment)
    try:
        with _Archive(images, report) as archive:
            connection.request("POST", "/images/load?quiet=1", body=archive.chunks(), headers=_TAR, encode_chunked=True)
            response = connection.getresponse()
            answer = response.read(_ANSWER_LIMIT)
        _judge(response.status, answer)
        return archive.size
    except (OSError, http.client.HTTPException) as e:
        raise HostError(f"the Docker daemon broke off: {e}", code="daemon-refused") from None
    finally:
        connection.close()


class _Archive:
    """An archive that is written by a thread into a pipe, and read from it piece by piece."""

    def __init__(self, images: Sequence[NamedImage], report: Report) -> None:
        self.size = 0
        self._images = images
        self._report = report
        self._failure: BuilderError | None = None
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._fill, name="archive")

    def __enter__(self) -> _Archive:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read)  # a writer that nobody reads any more ends by EPIPE
        self._thread.join()
        if self._failure is not None and self._failure.code != "output-closed":
            raise self._failure

    def _fill(self) -> None:
        try:
            self.size = write_archive(self._images, f"/dev/fd/{self._write}", report=self._report)
        except BuilderError as error:
            self._failure = error
        finally:
            os.close(self._write)

    def chunks(self) -> Iterator[bytes]:
        """The archive's bytes."""
        while data := os.read(self._read, 1 << 20):
            yield data


def _connect(environment: Mapping[str, str]) -> http.client.HTTPConnection:
    tried = _addresses(environment)
    for address in tried:
        parts = urlsplit(address)
        try:
            if parts.scheme == "unix":
                connection = http.client.HTTPConnection("docker")
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(parts.path)
            elif parts.scheme == "tcp":
                connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 2375)
                connection.connect()
            else:
                raise HostError(
                    f"DOCKER_HOST {address} is not supported", code="no-daemon", hint="use unix:// or tcp://"
                )
        except OSError:
            continue
        return connection
    raise HostError(
        f"no Docker daemon answers at {' or '.join(tried)}",
        code="no-daemon",
        hint="write a tarball instead, with -o type=docker,dest=FILE, and load it elsewhere",
    )


def _addresses(environment: Mapping[str, str]) -> list[str]:
    if environment.get("DOCKER_HOST"):
        return [environment["DOCKER_HOST"]]
    runtime = environment.get("XDG_RUNTIME_DIR")
    own = [f"unix://{Path(runtime) / 'docker.sock'}"] if runtime else []
    return [*own, "unix:///var/run/docker.sock"]


def _judge(status: int, answer: bytes) -> None:
    """The daemon says 200 before it knows: what goes wrong then comes as a line of JSON."""
    for line in answer.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        message = said.get("error") or (said.get("message") if status != 200 else None)
        if message:
            raise HostError(f"the Docker daemon does not take the image: {message}", code="daemon-refused")
    if status != 200:
        raise HostError(f"the Docker daemon answered {status}", code="daemon-refused")
