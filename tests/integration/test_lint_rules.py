"""Every lint rule by its name: a Dockerfile that breaks it, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worlds.command import Pybuild

from builder.dockerfile.lint import RULES

BROKEN = {
    "StageNameCasing": ("FROM scratch AS Base\n", 1),
    "FromAsCasing": ("FROM scratch as base\n", 1),
    "NoEmptyContinuation": ("FROM scratch\nLABEL a=1 \\\n\n  b=2\n", 4),
    "ConsistentInstructionCasing": ("FROM scratch\nLABEL a=1\nlabel b=2\n", 3),
    "DuplicateStageName": ("FROM scratch AS a\nFROM scratch AS a\n", 2),
    "ReservedStageName": ("FROM scratch AS context\n", 1),
    "JSONArgsRecommended": ("FROM scratch\nCMD run it\n", 2),
    "MaintainerDeprecated": ("FROM scratch\nMAINTAINER me\n", 2),
    "UndefinedArgInFrom": ("FROM scratch${VERSION}\n", 1),
    "WorkdirRelativePath": ("FROM scratch\nWORKDIR app\n", 2),
    "UndefinedVar": ("FROM scratch\nLABEL a=$B\n", 2),
    "MultipleInstructionsDisallowed": ('FROM scratch\nCMD ["a"]\nCMD ["b"]\n', 2),
    "LegacyKeyValueFormat": ("FROM scratch\nENV A b\n", 2),
    "InvalidBaseImagePlatform": ("FROM localhost/other:1\n", 1),
    "RedundantTargetPlatform": ("FROM --platform=$TARGETPLATFORM scratch\n", 1),
    "SecretsUsedInArgOrEnv": ("FROM scratch\nARG TOKEN\n", 2),
    "InvalidDefaultArgInFrom": ("ARG NAME\nFROM ${NAME}\n", 2),
    "FromPlatformFlagConstDisallowed": ("FROM --platform=linux/amd64 scratch\n", 1),
    "CopyIgnoredFile": ("FROM scratch\nCOPY secret /\n", 2),
    "InvalidDefinitionDescription": (
        "# check=experimental=InvalidDefinitionDescription\nFROM scratch\n# some words\nARG A\n",
        4,
    ),
    "ExposeProtoCasing": ("FROM scratch\nEXPOSE 80/TCP\n", 2),
    "ExposeInvalidFormat": ("FROM scratch\nEXPOSE 127.0.0.1:80:80\n", 2),
}


@pytest.fixture
def context(room: Path) -> Path:
    """A context with an ignored file."""
    folder = room / "context"
    folder.mkdir()
    (folder / ".dockerignore").write_text("secret\n")
    (folder / "secret").write_text("x")
    return folder


def test_every_rule_is_in_the_table() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", BROKEN)
def test_the_rule_fires_where_it_is_broken(rule: str, pybuild: Pybuild, context: Path) -> None:
    text, line = BROKEN[rule]
    (context / "Dockerfile").write_text(text)
    options: list[str] = []
    if rule == "InvalidBaseImagePlatform":
        foreign = context.parent / "foreign"
        foreign.mkdir()
        (foreign / "Dockerfile").write_text("FROM scratch\nLABEL a=1\n")
        pybuild("--platform=linux/s390x", "-t", "localhost/other:1", "-o", "type=image", foreign, check=True)
        options = ["--platform=linux/amd64"]
    if rule == "InvalidDefaultArgInFrom":
        options = ["--build-arg=NAME=scratch"]
    done = pybuild("build", "--call=check,format=json", *options, context)
    found = json.loads(done.stdout)["warnings"]
    assert [(one["ruleName"], one["location"]["ranges"][0]["start"]["line"]) for one in found] == [(rule, line)]
    assert (done.returncode, done.stderr) == (1, "")


def test_a_build_tells_of_it_and_goes_on(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCMD run it\n")
    done = pybuild("build", "-o", "type=cacheonly", context, check=True)
    assert done.stderr.splitlines()[:2] == [
        "1 warning found (--debug or --check tell more):",
        " - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS"
        " signals (line 2)",
    ]


def test_a_build_fails_where_the_file_wants_it(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("# check=error=true\nFROM scratch\nCMD run it\n")
    done = pybuild("build", "-o", "type=cacheonly", context)
    assert done.returncode == 1
    assert done.stderr.startswith("error[lint-violation]: lint violation found for rules: JSONArgsRecommended\n")


def test_a_check_says_what_a_build_could_not_do_either(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch AS Builder\nFROM scratch\nCOPY --from=biulder /a /b:c\n")
    done = pybuild("build", "--check", "--build-context", "biulder=oci-layout:///nowhere", context)
    assert done.returncode == 1
    assert done.stdout.startswith("Check complete, 1 warning has been found!\n\nWARNING: StageNameCasing - ")
    assert "Dockerfile:3\n    COPY --from=biulder /a /b:c\n                ^^^^^^^\n" in done.stderr
    assert "did you mean builder?" not in done.stderr  # it is the name of a context


def test_a_base_that_cannot_be_had_is_pointed_at(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM scratch AS builder\nFROM scratch\nCOPY --from=localhost:1/builder a /\nCOPY --from=bulder a /\n"
    )
    done = pybuild("build", "-o", "type=cacheonly", context, env={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert done.returncode == 1
    assert "\n  Dockerfile:4\n    COPY --from=bulder a /\n                ^^^^^^\n" in done.stderr
    assert "hint: did you mean builder?" in done.stderr


def test_a_clean_file_is_said_to_be_clean(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text('FROM scratch\nCMD ["a"]\n')
    done = pybuild("build", "--check", context)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Check complete, no warnings found.\n", "")


def test_findings_count_for_nothing_where_that_is_asked(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCMD run it\n")
    assert pybuild("build", "--call=check,ignorestatus=true", context).returncode == 0


def test_annotations_name_the_file_from_the_working_folder(pybuild: Pybuild, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCMD run it\nCOPY a\n")
    done = pybuild("build", "--call=check,format=github", "context", cwd=context.parent)
    assert done.stdout.startswith("::error file=context/Dockerfile,title=")
    assert ",line=3,endLine=3::" in done.stdout
    assert done.returncode == 1
