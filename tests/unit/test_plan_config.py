"""The instructions that change the configuration."""

from __future__ import annotations

from typing import Any

import pytest
from plans import history, image, mistake, plan, workdir_step

from builder.image.configuration import RunConfig


def config(text: str, **base: Any) -> RunConfig:
    """The configuration after the instructions in *text*, upon a base."""
    return plan(f"FROM a\n{text}\n", {"a": image(**base)}).target.config.config


@pytest.mark.parametrize(
    ("text", "entrypoint", "cmd"),
    [
        ('ENTRYPOINT ["e"]', ("e",), None),
        ('CMD ["c"]\nENTRYPOINT ["e"]', ("e",), ("c",)),
        ('ENTRYPOINT ["e"]\nCMD ["c"]', ("e",), ("c",)),
        ("ENTRYPOINT e $x", ("/bin/sh", "-c", "e $x"), None),
        ("CMD c", None, ("/bin/sh", "-c", "c")),
        ("CMD []", None, None),
        ("ENTRYPOINT []", None, None),
        ("USER x", None, ("sh",)),
        ('SHELL ["/b"]\nCMD c', None, ("/b", "c")),
    ],
)
def test_entrypoint_takes_the_bases_command_away(text: str, entrypoint: object, cmd: object) -> None:
    found = config(text)
    assert (found.entrypoint, found.cmd) == (entrypoint, cmd)


def test_entrypoint_takes_the_command_of_a_stage_below_away() -> None:
    made = plan('FROM a AS one\nCMD ["c"]\nFROM one\nENTRYPOINT ["e"]\n')
    assert made.target.config.config.cmd is None


def test_commands_in_the_history_are_quoted() -> None:
    made = plan('FROM a\nCMD ["a b", "\\"é\\t"]\nENTRYPOINT x "y"\nCMD []\n')
    assert history(made) == [
        'CMD ["a b" "\\"é\\t"]',
        'ENTRYPOINT ["/bin/sh" "-c" "x \\"y\\""]',
        "CMD []",
    ]
    assert made.target.config.config.args_escaped


@pytest.mark.parametrize(
    ("text", "base", "folder", "said"),
    [
        ("WORKDIR /a", "", "/a", ["*WORKDIR /a"]),
        ("WORKDIR a", "", "/a", ["*WORKDIR /a"]),
        ("WORKDIR a", "/b", "/b/a", ["*WORKDIR /b/a"]),
        ("WORKDIR /a//b/", "", "/a//b/", ["*WORKDIR /a//b/"]),
        ("WORKDIR /a//b/\nWORKDIR c", "", "/a/b/c", ["*WORKDIR /a//b/", "*WORKDIR /a/b/c"]),
        ("WORKDIR ..", "/b/c", "/b", ["*WORKDIR /b"]),
        ("WORKDIR /", "/b", "/", ["WORKDIR /"]),
        ("WORKDIR $NONE", "/b", "/b", ["*WORKDIR /b"]),
        ("ENV D=d\nWORKDIR /x/$D", "", "/x/d", ["ENV D=d", "*WORKDIR /x/d"]),
        ("USER x", "b", "/b", ["USER x"]),
    ],
)
def test_workdir(text: str, base: str, folder: str, said: list[str]) -> None:
    made = plan(f"FROM a\n{text}\n", {"a": image(working_dir=base)})
    assert made.target.config.config.working_dir == folder
    assert history(made) == said


def test_a_working_folder_belongs_to_the_user_of_the_moment() -> None:
    made = plan("FROM a\nUSER app\nWORKDIR /a//b/\n")
    step = workdir_step(made)
    assert (step.path, step.user, step.title) == ("/a/b", "app", "WORKDIR /a//b/")


def test_env_in_both_forms() -> None:
    made = plan('FROM a\nENV A=1 B="x y"\nENV C  two  words\n')
    assert made.target.config.config.env[1:] == ("A=1", "B=x y", "C=two  words")
    assert history(made) == ["ENV A=1 B=x y", "ENV C=two  words"]


def test_labels_are_expanded_and_added() -> None:
    found = config('ENV A=1\nLABEL "a$A"=x b="$A y"', labels={"b": "0", "z": "9"})
    assert found.labels == {"b": "1 y", "z": "9", "a1": "x"}


def test_ports_are_sorted_by_word_and_written_one_by_one() -> None:
    made = plan("FROM a\nENV P=90/udp\nEXPOSE 8080 7000-7001 $P\n", {"a": image(exposed_ports=("80/tcp",))})
    assert made.target.config.config.exposed_ports == ("7000/tcp", "7001/tcp", "80/tcp", "8080/tcp", "90/udp")
    assert history(made)[1:] == ["EXPOSE [90/udp 7000/tcp 7001/tcp 8080/tcp]"]


def test_volumes_in_both_forms() -> None:
    made = plan('FROM a\nENV V=/v\nVOLUME $V /w\nVOLUME ["/x y"]\n')
    assert made.target.config.config.volumes == ("/v", "/w", "/x y")
    assert history(made)[1:] == ["VOLUME [/v /w]", "VOLUME [/x y]"]


@pytest.mark.parametrize("signal", ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-14", "64"])
def test_signals(signal: str) -> None:
    assert config(f"STOPSIGNAL {signal}").stop_signal == signal


@pytest.mark.parametrize("signal", ["SIGX", "0", "RTMIN+16", "SIGSIGTERM", "$NONE"])
def test_what_is_no_signal(signal: str) -> None:
    text = "" if signal == "$NONE" else signal
    assert mistake(f"FROM a\nSTOPSIGNAL {signal}\n").message == f"invalid signal: {text}"


def test_healthchecks() -> None:
    made = plan("FROM a\nHEALTHCHECK --interval=5m --retries=2 CMD x $y\n")
    assert made.target.config.config.healthcheck == {
        "Test": ["CMD-SHELL", "x $y"],
        "Interval": 300_000_000_000,
        "Retries": 2,
    }
    assert history(made) == [
        "HEALTHCHECK {Test:[CMD-SHELL x $y] Interval:5m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}"
    ]
    assert config('HEALTHCHECK CMD ["a", "b"]').healthcheck == {"Test": ["CMD", "a", "b"]}
    assert config("HEALTHCHECK NONE").healthcheck == {"Test": ["NONE"]}


def test_the_maintainer_is_the_author() -> None:
    made = plan("FROM a\nMAINTAINER Some  One\n")
    assert made.target.config.author == "Some  One"
    assert history(made) == ["MAINTAINER Some  One"]


@pytest.mark.parametrize(
    ("line", "message", "place"),
    [
        ("EXPOSE 80 99999", "invalid containerPort: 99999", "EXPOSE 80 99999\n            ^^^^^"),
        ("VOLUME /a $NONE", "VOLUME specified can not be an empty string", "VOLUME /a $NONE\n            ^^^^^"),
        ("STOPSIGNAL SIGX", "invalid signal: SIGX", "STOPSIGNAL SIGX\n             ^^^^"),
        ("ENV A=${B:?no}", 'failed to process "${B:?no}": B: no', "ENV A=${B:?no}\n        ^^^^^^^^"),
    ],
)
def test_the_word_that_is_wrong_is_shown(line: str, message: str, place: str) -> None:
    error = mistake(f"FROM a\n{line}\n")
    assert error.message == message
    assert error.where is not None
    assert error.where.describe() == f"Dockerfile:2\n  {place}"


def test_there_is_an_end_to_ports() -> None:
    words = " ".join(["0-65535"] * 4)
    assert mistake(f"FROM a\nEXPOSE {words}\n").message == "more than 200000 ports are exposed"


def test_history_entries_bear_buildkits_comment() -> None:
    assert plan("FROM a\nUSER x\n").target.history[0].comment == "buildkit.dockerfile.v0"
