"""Where a build takes from besides its context: secrets, SSH agents, named contexts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from builder.cli.values import attributes, reject
from builder.engine.request import Secret, SshAgent
from builder.errors import BuilderError
from builder.events import Note
from builder.image.names import Platform, Reference

_SCHEMES = ("docker-image", "oci-layout", "https", "http", "git", "ssh")

SECRET_LIMIT = 500 * 1024
"""Bytes a secret may have. source: moby/buildkit, session/secrets/secrets.go, MaxSecretSize"""


def secrets(values: Iterable[str], environ: Mapping[str, str]) -> tuple[tuple[Secret, ...], tuple[Note, ...]]:
    """All ``--secret``, and warnings of variables that are not set; of two with one id the last counts.

    source   docker/buildx, util/buildflags/secrets.go; moby/buildkit, session/secrets/secretsprovider/store.go
    """
    found: dict[str, Secret] = {}
    notes: list[Note] = []
    for text in values:
        # The value is never quoted in an error: people do write secrets where their place belongs.
        given = attributes(text, "--secret")
        unknown = given.keys() - {"id", "type", "src", "source", "env"}
        if unknown:
            reject(f"--secret: unknown key {min(unknown)!r}", "write --secret id=NAME,src=FILE or id=NAME,env=VARIABLE")
        if given.get("type", "file") not in ("file", "env"):
            reject(f"--secret: unsupported type {given['type']!r}", "type is file or env")
        name = given.get("id", "")
        if not name:
            reject("--secret: the id is missing", "write --secret id=NAME,src=FILE or id=NAME,env=VARIABLE")
        source, variable = given.get("src") or given.get("source", ""), given.get("env", "")
        if given.get("type") == "env" and not variable:
            source, variable = "", source
        if not source and not variable:
            # Without a place the id is one: of a variable if there is one, else of a file.
            source, variable = ("", name) if name in environ else (name, "")
        if variable and variable in environ:
            found[name] = Secret(id=name, value=environ[variable].encode("utf-8", "surrogateescape"))
        elif source:
            found[name] = Secret(id=name, source=_secret_file(name, source))
        else:
            notes.append(Note("warning", f"--secret {name}: the variable {variable} is not set; going on without it"))
            found.pop(name, None)
    for secret in found.values():
        if secret.value is not None and len(secret.value) > SECRET_LIMIT:
            reject(f"--secret {secret.id}: it is bigger than {SECRET_LIMIT // 1024} KiB")
    return tuple(found.values()), tuple(notes)


def _secret_file(name: str, source: str) -> str:
    path = os.path.abspath(source)
    try:
        size = os.stat(path).st_size
    except OSError as e:
        reject(f"--secret {name}: cannot read {source}: {e.strerror}")
    if os.path.isdir(path):
        reject(f"--secret {name}: {source} is a folder")
    if size > SECRET_LIMIT:
        reject(f"--secret {name}: {source} is bigger than {SECRET_LIMIT // 1024} KiB")
    return path


def ssh_agents(values: Iterable[str], environ: Mapping[str, str]) -> tuple[SshAgent, ...]:
    """All ``--ssh``: ``ID[=SOCKET]``; without a place it is the caller's agent."""
    found: dict[str, SshAgent] = {}
    for text in values:
        name, _, rest = text.partition("=")
        paths = [path for path in rest.split(",") if path]
        if not paths:
            socket = environ.get("SSH_AUTH_SOCK", "")
            if not socket:
                reject(
                    f"--ssh {text}: no SSH agent: SSH_AUTH_SOCK is not set",
                    "start one with `eval $(ssh-agent)`, and add the key with ssh-add",
                )
            paths = [socket]
        for path in paths:
            if not os.path.exists(path):
                reject(f"--ssh {name}: there is no {path}")
        found[name] = SshAgent(id=name, paths=tuple(os.path.abspath(path) for path in paths))
    return tuple(found.values())


def contexts(values: Iterable[str]) -> dict[str, str]:
    """All ``--build-context NAME[::PLATFORM]=WHERE``: names as images have them, in lower case, without ``:latest``.

    source   docker/buildx, util/buildflags/context.go, ParseContextNames
    """
    found: dict[str, str] = {}
    for text in values:
        name, equals, where = text.partition("=")
        if not equals or not where:
            reject(
                f"--build-context {text!r} is not NAME=WHERE", "WHERE is a folder, docker-image://… or oci-layout://…"
            )
        image, of_platform, platform = name.partition("::")
        try:
            key = Reference.parse(image.lower()).familiar.removesuffix(":latest")
            key += f"::{Platform.parse(platform)}" if of_platform else ""
        except BuilderError as e:
            reject(f"--build-context: invalid name {name!r}", e.hint)
        if where.startswith("target:"):
            reject(
                f"--build-context {name}: {where} names a target of a bake file, of which there is none",
                "build it first, and give its image as docker-image://… or oci-layout://…",
            )
        scheme, elsewhere, _ = where.partition("://")
        if elsewhere and scheme not in _SCHEMES:
            reject(f"--build-context {name}: unsupported source {scheme}", "there are " + ", ".join(_SCHEMES))
        if not elsewhere and not where.startswith("git@") and not os.path.isdir(where):
            reject(f"--build-context {name}: there is no folder {where}")
        found[key] = where
    return found
