"""Dockerfiles that nobody writes to build them: each is planned, or refused with an error, before long."""

from __future__ import annotations

import pytest
from plans import mistake, plan, rules

from builder.dockerfile.parse import MAX_INSTRUCTIONS


def test_a_file_has_a_most_of_instructions() -> None:
    assert len(plan("FROM base\n" + "RUN a\n" * (MAX_INSTRUCTIONS - 1)).target.steps) == MAX_INSTRUCTIONS - 1
    error = mistake("FROM base\n" + "RUN a\n" * MAX_INSTRUCTIONS)
    assert (error.code, error.message) == (
        "dockerfile-too-large",
        f"the Dockerfile has more than {MAX_INSTRUCTIONS} instructions",
    )


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("EXPOSE 1-65535\n" * 4, "too-many-ports", "more than 200000 ports are exposed"),
        ("WORKDIR a\n" * 3000, "path-too-long", "the working folder has more than 4096 characters"),
        ("COPY f /" + "a/" * 2049 + "\n", "path-too-long", "the destination has more than 4096 characters"),
        ("ADD <<f /" + "a/" * 2049 + "\nf\n", "path-too-long", "the destination has more than 4096 characters"),
        (
            "WORKDIR /" + "a/" * 2000 + "\nCOPY f " + "a/" * 99 + "\n",
            "path-too-long",
            "the destination has more than 4096 characters",
        ),
        *(
            (
                f"RUN --mount={mount},target=/" + "a/" * 2049 + "b a\n",
                "path-too-long",
                "the mount's target has more than 4096 characters",
            )
            for mount in ("type=bind", "type=cache", "type=tmpfs", "type=secret", "type=ssh")
        ),
        (
            "ARG A=" + "x" * 60000 + "\n" + "RUN a\n" * 1000,
            "expansion-too-long",
            "variables and history of the Dockerfile come to more than 64 MiB",
        ),
    ],
)
def test_what_grows_has_bounds(text: str, code: str, message: str) -> None:
    error = mistake("FROM base\n" + text)
    assert (error.code, error.message) == (code, message)


def test_volumes_and_ports_are_sorted_however_they_come() -> None:
    config = plan("FROM base\nVOLUME /b /a\nVOLUME /c\nVOLUME /a /d\nEXPOSE 90 80\nEXPOSE 85 80\n").target.config.config
    assert config.volumes == ("/a", "/b", "/c", "/d")
    assert config.exposed_ports == ("80/tcp", "85/tcp", "90/tcp")


def test_names_that_may_have_been_meant_are_not_sought_for_ever() -> None:
    found = rules(plan("FROM base\nENV VALUE=1\n" + "".join(f"ENV A=$VALU{i}\n" for i in range(150))))
    guesses = ["did you mean $VALUE" in message for _, message, _ in found]
    assert guesses == [True] * 100 + [False] * 50
