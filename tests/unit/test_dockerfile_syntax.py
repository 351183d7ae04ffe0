"""What is said where ``# syntax=`` asks for a frontend that is not run."""

from __future__ import annotations

import pytest

from builder.dockerfile.parse import parse
from builder.dockerfile.syntax import asked_for, explain, foreign
from builder.errors import DockerfileError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", None),
        ("dockerfile.v0", None),
        ("docker/dockerfile", None),
        ("docker/dockerfile:1", None),
        ("docker.io/docker/dockerfile:1.7-labs", None),
        ("docker/dockerfile-upstream:master", None),
        ("docker/dockerfile:1@sha256:" + "0" * 64, None),
        (
            "example.com/front:2",
            "the frontend example.com/front:2 is not run: the file is read as one of docker/dockerfile:1",
        ),
    ],
)
def test_only_dockers_own_frontend_is_understood(name: str, said: str | None) -> None:
    assert foreign(name) == said


def test_the_build_argument_comes_before_the_file() -> None:
    text = b"# syntax=example.com/a:1 more\nFROM base\n"
    frontend, place = asked_for(text, "Dockerfile", {})
    assert frontend == "example.com/a:1"
    assert place is not None
    assert place.describe().startswith("Dockerfile:1\n")
    assert asked_for(text, "Dockerfile", {"BUILDKIT_SYNTAX": "dockerfile.v0"}) == ("dockerfile.v0", None)
    assert asked_for(b"# syntax=a\n# syntax=b\n", "Dockerfile", {}) == ("", None)


@pytest.mark.parametrize(
    ("frontend", "text", "hint"),
    [
        (
            "docker/dockerfile:1.99",
            b"FROM base\nINCLUDE x\n",
            "docker/dockerfile:1.99 may know it; here the language is that of docker/dockerfile:1.26-labs",
        ),
        ("docker/dockerfile:1.20", b"FROM base\nINCLUDE x\n", None),
        (
            "docker/dockerfile:1-labs",
            b"FROM base\nUSER --x a\n",
            "USER has no flags; docker/dockerfile:1-labs may know it; here the language is that of"
            " docker/dockerfile:1.26-labs",
        ),
        ("docker/dockerfile:1-labs", b"FROM base\nUSER\n", None),
        (
            "example.com/x",
            b"FROM base\nUSER\n",
            "it may be right to example.com/x, a frontend that is not run; here it is docker/dockerfile:1.26",
        ),
    ],
)
def test_what_is_not_known_may_be_known_to_the_frontend_asked_for(frontend: str, text: bytes, hint: str | None) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text, "Dockerfile")
    explain(caught.value, frontend)
    assert caught.value.hint == hint
