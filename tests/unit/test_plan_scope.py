"""ARG and ENV: which value is seen where."""

from __future__ import annotations

import pytest
from plans import ARM64, history, image, mistake, plan, run_step

from builder.plan.steps import ImageInput


def base_of(text: str, **options: object) -> str:
    root = plan(text, **options).target.root
    assert isinstance(root, ImageInput)
    return root.base.name


@pytest.mark.parametrize(
    ("text", "build_args", "name"),
    [
        ("ARG V=1\nFROM a:$V\n", {}, "a:1"),
        ("ARG V=1\nFROM a:$V\n", {"V": "2"}, "a:2"),
        ("ARG V\nFROM a:${V:-3}\n", {}, "a:3"),
        ("ARG V=1\nARG W=$V.0\nFROM a:$W\n", {}, "a:1.0"),
        ("ARG V=1\nARG W=$V.0\nFROM a:$W\n", {"V": "5"}, "a:5.0"),
        ("ARG V=1 W=${V}2\nFROM a:$W\n", {}, "a:12"),
        ("ARG V=1\nARG V=2\nFROM a:$V\n", {}, "a:2"),
        ("ARG V=1\nARG V\nFROM a:$V\n", {}, "a:1"),
        ('FROM "a:1"\n', {}, "a:1"),
        ("FROM a:$TARGETARCH-$TARGETOS\n", {}, "a:amd64-linux"),
        ("FROM a:$TARGETARCH\n", {"TARGETARCH": "mine"}, "a:mine"),
        ("FROM a:$TARGETSTAGE AS last\n", {}, "a:last"),
        ("FROM a:$TARGETSTAGE\n", {}, "a:default"),
    ],
)
def test_from_sees_the_arguments_before_it(text: str, build_args: dict[str, str], name: str) -> None:
    assert base_of(text, build_args=build_args) == name


def test_an_argument_given_but_not_declared_is_not_seen() -> None:
    error = mistake("FROM $V\n", build_args={"V": "a"})
    assert error.message == "base name ($V) should not be blank"
    assert error.where is not None
    assert error.where.describe() == "Dockerfile:1\n  FROM $V\n       ^^"


def test_the_target_stage_is_the_one_asked_for() -> None:
    assert base_of("FROM a:$TARGETSTAGE AS one\nFROM b AS two\n", target="one") == "a:one"


def env_of(text: str, **options: object) -> list[str]:
    return [entry for entry in run_step(plan(text, **options)).env if not entry.startswith("PATH=")]


@pytest.mark.parametrize(
    ("text", "build_args", "env"),
    [
        ("FROM a\nARG V=1\nRUN x\n", {}, ["V=1"]),
        ("FROM a\nARG V=1\nRUN x\n", {"V": "2"}, ["V=2"]),
        ("FROM a\nARG V\nRUN x\n", {}, []),
        ("ARG V=g\nFROM a\nRUN x\n", {}, []),
        ("ARG V=g\nFROM a\nARG V\nRUN x\n", {}, ["V=g"]),
        ("ARG V=g\nFROM a\nARG V=1\nRUN x\n", {}, ["V=1"]),
        ("ARG V=g\nFROM a\nARG V\nRUN x\n", {"V": "2"}, ["V=2"]),
        ("FROM a\nARG V=1\nENV V=2\nRUN x\n", {"V": "3"}, ["V=2"]),
        ("FROM a\nENV V=2\nARG V=1\nRUN x\n", {}, ["V=1"]),
        ("FROM a\nENV V=1\nENV V=2 W=$V\nRUN x\n", {}, ["V=2", "W=1"]),
        ("FROM a\nENV V=1 W=2\nENV V=3\nRUN x\n", {}, ["W=2", "V=3"]),
        ("FROM a\nARG TARGETPLATFORM\nRUN x\n", {}, ["TARGETPLATFORM=linux/amd64"]),
        ("FROM a\nARG TARGETVARIANT\nRUN x\n", {}, ["TARGETVARIANT="]),
        ("FROM a\nRUN x\nARG V=1\n", {}, []),
        ("FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n", {}, []),
        ("FROM a AS b\nARG V=1\nFROM b\nRUN x\n", {}, ["V=1"]),
        ("FROM a AS b\nENV V=1\nARG V=2\nFROM b\nRUN x\n", {}, ["V=1"]),
        ("FROM a AS b\nARG V=1\nFROM a\nRUN x\n", {}, []),
    ],
)
def test_a_command_sees_what_was_set_before_it(text: str, build_args: dict[str, str], env: list[str]) -> None:
    assert env_of(text, build_args=build_args) == env


def test_args_do_not_stay_in_the_image() -> None:
    made = plan("FROM a\nARG V=1\nENV W=$V\n")
    assert made.target.config.config.env[1:] == ("W=1",)


def test_a_changed_variable_keeps_its_place_in_the_image() -> None:
    made = plan("FROM a\nENV A=1 B=2\nENV A=3 C=4\n")
    assert made.target.config.config.env[1:] == ("A=3", "B=2", "C=4")


def test_path_is_always_set() -> None:
    made = plan("FROM a\nRUN x\n", {"a": image(env=("A=1",))})
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert made.target.config.config.env == ("A=1", path)
    assert run_step(made).env == ("A=1", path)


def test_the_history_shows_arguments_as_they_were() -> None:
    made = plan('ARG G=1\nFROM a\nARG A B=2 C="x y" G\nRUN true\nENV B=3\nRUN true\n', build_args={"B": "9"})
    assert history(made) == [
        "ARG A B=9 C=x y G=1",
        "*RUN |4 A= B=9 C=x y G=1 /bin/sh -c true # buildkit",
        "ENV B=3",
        "*RUN |4 A= B=3 C=x y G=1 /bin/sh -c true # buildkit",
    ]


def test_predefined_proxies_reach_commands_but_not_the_history() -> None:
    made = plan("FROM a\nRUN x\n", build_args={"HTTPS_PROXY": "http://p:1"})
    assert run_step(made).quiet_env == ("HTTPS_PROXY=http://p:1", "https_proxy=http://p:1")
    assert history(made) == ["*RUN /bin/sh -c x # buildkit"]
    assert "HTTPS_PROXY=http://p:1" not in run_step(made).env


def test_platform_arguments_follow_the_target_not_the_stage() -> None:
    text = "FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH BUILDARCH\nRUN x\n"
    made = plan(text, platform=ARM64)
    assert made.target.platform.architecture == "amd64"
    assert run_step(made).env[1:] == ("TARGETARCH=arm64", "BUILDARCH=amd64")


def test_a_value_that_must_be_given_is_asked_for() -> None:
    error = mistake('FROM a\nARG V="${W?give it}"\n')
    assert error.message == 'failed to process "\\"${W?give it}\\"": W: give it'


def test_a_build_argument_spares_the_default_that_cannot_be_expanded() -> None:
    assert env_of("FROM a\nARG V=${W?needed}\nRUN x\n", build_args={"V": "1"}) == ["V=1"]


class TestSourceDateEpoch:
    def test_the_build_argument_dates_the_history(self) -> None:
        made = plan("FROM a\nENV A=1\n", build_args={"SOURCE_DATE_EPOCH": "1000000000"})
        assert made.source_date_epoch == 1000000000
        assert made.target.config.created == "2001-09-09T01:46:40Z"
        assert made.target.history[0].created == "2001-09-09T01:46:40Z"

    def test_a_global_default_does_so_too(self) -> None:
        assert plan("ARG SOURCE_DATE_EPOCH=5\nFROM a\n").source_date_epoch == 5

    def test_the_build_argument_comes_before_the_option(self) -> None:
        made = plan("FROM a\n", build_args={"SOURCE_DATE_EPOCH": "1"}, source_date_epoch=2)
        assert made.source_date_epoch == 1
        assert plan("FROM a\n", source_date_epoch=2).source_date_epoch == 2

    def test_an_empty_one_is_none(self) -> None:
        text = "FROM a\nARG SOURCE_DATE_EPOCH\nRUN x\n"
        made = plan(text, build_args={"SOURCE_DATE_EPOCH": ""})
        assert made.source_date_epoch is None
        assert run_step(made).env[1:] == ()

    def test_without_one_the_world_dates_the_image(self) -> None:
        made = plan("FROM a\nENV A=1\n")
        assert (made.target.config.created, made.target.history[0].created) == (None, None)

    def test_the_calendar_has_an_end(self) -> None:
        error = mistake("FROM a\n", build_args={"SOURCE_DATE_EPOCH": str(1 << 60)})
        assert error.message == f"invalid SOURCE_DATE_EPOCH: {1 << 60} is beyond the year 9999"
