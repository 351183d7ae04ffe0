"""``pybuild explain``: what a build would find, and what changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from worlds.command import Pybuild

DOCKERFILE = """FROM base AS build
ARG V=1
WORKDIR /app
COPY src src
RUN cp src/a out; echo $V
FROM base
COPY --from=build /app/out /out
RUN cat /out
"""


@pytest.fixture
def context(room: Path) -> Path:
    folder = room / "context"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for name in "ab":
        (folder / "src" / name).write_text(name)
        os.utime(folder / "src" / name, (1_000_000_000, 1_000_000_000))
    return folder


def explained(pybuild: Pybuild, context: Path, base: Path, *options: str) -> list[tuple[str, list[str]]]:
    words = ("explain", "--json", f"--build-context=base=oci-layout://{base}", *options, context)
    found = json.loads(pybuild(*words, check=True).stdout)
    return [(step["Verdict"], step["Reasons"]) for step in found]


def test_what_changed_is_told_step_by_step(pybuild_everyone: Pybuild, context: Path, busybox_oci: Path) -> None:
    pybuild = pybuild_everyone
    assert explained(pybuild, context, busybox_oci)[0] == ("new", ["it was never performed on what is here before it"])
    assert {verdict for verdict, _ in explained(pybuild, context, busybox_oci)} == {"new"}

    context_option = f"--build-context=base=oci-layout://{busybox_oci}"
    pybuild("build", "-o", "type=cacheonly", context_option, context, check=True)
    assert explained(pybuild, context, busybox_oci) == [("cached", [])] * 5

    (context / "src" / "b").write_text("changed")
    (context / "Dockerfile").write_text(DOCKERFILE.replace("cat /out", "cat /out /dev/null"))
    expected = [
        ("cached", []),
        ("changed", ["files of the context changed: src/b"]),
        ("changed", ['the variable V changed: it was "1", and is "2"']),
        ("after", ["found again if step 2 gives what it gave last time"]),
        ("changed", ['the command changed: it was "cat /out", and is "cat /out /dev/null"']),
    ]
    # Files that were made a moment before the build are hashed but not remembered, so src/a may be named as well.
    got = explained(pybuild, context, busybox_oci, "--build-arg=V=2")
    got[1] = (got[1][0], [reason.replace("src/a, ", "") for reason in got[1][1]])
    assert got == expected

    pybuild("build", "-o", "type=cacheonly", context_option, context, check=True)
    assert {verdict for verdict, _ in explained(pybuild, context, busybox_oci)} == {"cached"}
    assert {verdict for verdict, _ in explained(pybuild, context, busybox_oci, "--no-cache")} == {"forced"}


def test_it_is_told_to_people(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /\nCOPY src/a /b\n")
    pybuild("build", "-o", "type=cacheonly", context, check=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /\nCOPY src/a /c\n")
    assert pybuild("explain", context, check=True).stdout == (
        "[1/2] COPY src /\n"
        "  cached\n"
        "[2/2] COPY src/a /c\n"
        '  to be performed: the destination changed: it was "/b", and is "/c"\n'
    )


def test_a_build_without_steps_has_nothing_to_explain(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nLABEL a=1\n")
    assert pybuild("explain", context, check=True).stdout == "there are no steps\n"
