"""Cache keys: every field of a step counts, or is known not to."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from plans import AMD64, ARM64, copy_step, plan, run_step

from builder.dockerfile.source import SourceFile, Span
from builder.plan.cachekey import EXCLUDED, step_digest
from builder.plan.steps import (
    BindMount,
    CacheMount,
    ContextInput,
    CopyStep,
    GitTree,
    InlineFile,
    RemoteFile,
    RunStep,
    ScratchInput,
    SecretMount,
    SshMount,
    TmpfsMount,
    WorkdirStep,
)

FILE = SourceFile("Dockerfile", ("RUN x", "RUN y"))
HERE, THERE = Span(FILE, 1, 0, 1, 5), Span(FILE, 2, 0, 2, 5)

RUN = RunStep(title="RUN x", where=HERE, number=1, argv=("x",), env=("A=1",))
COPY = CopyStep(title="COPY a b", where=HERE, input=ContextInput(), sources=("a",), target="/b", target_is_folder=False)
WORKDIR = WorkdirStep(title="WORKDIR /a", where=HERE, path="/a")
MOUNTS = (
    BindMount(target="/m", input=ContextInput(), where=HERE),
    CacheMount(target="/m", id="x", where=HERE),
    TmpfsMount(target="/m", where=HERE),
    SecretMount(id="x", target="/m", where=HERE),
    SshMount(where=HERE),
)
FILES = (
    InlineFile(name="a", content="b"),
    RemoteFile(url="u", name="n"),
    GitTree(url="u", remote="r"),
)


def other(value: object, name: str) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case None:
            return {"unpack": True, "input": ScratchInput()}.get(name, "/x")
        case Span():
            return THERE
        case ContextInput():
            return ContextInput(name="other")
        case tuple():
            return (*value, *_another(name))
    raise AssertionError(f"no other value known for {name}: {value!r}")


def _another(name: str) -> tuple[object, ...]:
    known: dict[str, tuple[object, ...]] = {
        "mounts": MOUNTS[:1],
        "files": (("/dev/pipes/E", "x"),),
        "inline": FILES[:1],
        "remote": FILES[1:2],
        "git": FILES[2:],
    }
    return known.get(name, ("x",))


def digest(step: RunStep | CopyStep | WorkdirStep) -> str:
    return step_digest(step, platform=AMD64)[0]


def assert_counts(owner: object, name: str, before: str, after: str) -> None:
    if (type(owner), name) in EXCLUDED:
        assert after == before, f"{name} counts, though it is said not to: {EXCLUDED[type(owner), name]}"
    else:
        assert after != before, f"{name} of {type(owner).__name__} does not count, and nothing says why"


@pytest.mark.parametrize("step", [RUN, COPY, WORKDIR], ids=lambda step: type(step).__name__)
def test_every_field_of_a_step_counts_or_is_excluded(step: RunStep | CopyStep | WorkdirStep) -> None:
    for field in fields(step):
        changed = replace(step, **{field.name: other(getattr(step, field.name), field.name)})
        assert_counts(step, field.name, digest(step), digest(changed))


@pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: type(mount).__name__)
def test_every_field_of_a_mount_counts_or_is_excluded(mount: Any) -> None:
    before = digest(replace(RUN, mounts=(mount,)))
    for field in fields(mount):
        changed = replace(mount, **{field.name: other(getattr(mount, field.name), field.name)})
        assert_counts(mount, field.name, before, digest(replace(RUN, mounts=(changed,))))


@pytest.mark.parametrize(("name", "source"), list(zip(("inline", "remote", "git"), FILES, strict=True)))
def test_every_field_of_a_source_counts(name: str, source: Any) -> None:
    before = digest(replace(COPY, **{name: (source,)}))
    for field in fields(source):
        changed = replace(source, **{field.name: other(getattr(source, field.name), field.name)})
        assert_counts(source, field.name, before, digest(replace(COPY, **{name: (changed,)})))


def test_every_exclusion_is_of_a_field_and_has_a_reason() -> None:
    for (kind, name), reason in EXCLUDED.items():
        assert name in {field.name for field in fields(kind)}
        assert reason


def test_defaults_are_written_too() -> None:
    parts = step_digest(RUN, platform=AMD64)[1]
    kept = {field.name for field in fields(RunStep) if (RunStep, field.name) not in EXCLUDED}
    assert kept <= parts.keys()
    assert any(field.default is not MISSING for field in fields(RunStep))


def test_the_platform_counts() -> None:
    assert step_digest(RUN, platform=AMD64)[0] != step_digest(RUN, platform=ARM64)[0]


def test_what_no_instruction_says_counts_and_goes_first() -> None:
    plain = step_digest(RUN, platform=AMD64)[0]
    network = step_digest(RUN, platform=AMD64, around={"network": "none"})
    assert network[0] != plain
    assert network[1]["network"] == "none"
    limited, parts = step_digest(RUN, platform=AMD64, around={"ulimits": (("nofile", 1, 2),)})
    assert limited not in (plain, network[0])
    assert parts["ulimits"] == [["nofile", 1, 2]]


def test_words_cannot_flow_into_each_other() -> None:
    steps = [
        replace(RUN, argv=("a", "b")),
        replace(RUN, argv=("ab",)),
        replace(RUN, argv=("a", "", "b")),
        replace(RUN, argv=("a",), env=("b", "A=1")),
        replace(RUN, argv=("as1:b",)),
    ]
    assert len({digest(step) for step in steps}) == len(steps)


def test_kinds_with_equal_fields_differ() -> None:
    tmpfs = TmpfsMount(target="/m", where=HERE)
    ssh = SshMount(target="/m", where=HERE)
    assert digest(replace(RUN, mounts=(tmpfs,))) != digest(replace(RUN, mounts=(ssh,)))


def test_parts_are_plain_and_named() -> None:
    step = run_step(plan("FROM a\nARG A=1\nRUN --mount=type=secret,id=s x\n"))
    parts = json.loads(json.dumps(step_digest(step, platform=AMD64)[1]))
    assert parts["kind"] == "RunStep"
    assert parts["argv"] == ["/bin/sh", "-c", "x"]
    assert parts["mounts"][0]["id"] == "s"


def test_labels_and_places_before_a_command_do_not_change_its_key() -> None:
    before = run_step(plan("FROM a\nRUN x\n"))
    after = run_step(plan('FROM a\n\n# why\nLABEL a=b\nEXPOSE 80\nCMD ["y"]\nRUN   x\n'))
    assert digest(before) == digest(after)


def test_a_proxy_does_not_change_a_key() -> None:
    before = run_step(plan("FROM a\nRUN x\n"))
    after = run_step(plan("FROM a\nRUN x\n", build_args={"HTTP_PROXY": "http://p"}))
    assert after.quiet_env
    assert digest(before) == digest(after)


def test_bytes_that_are_no_text_have_a_key() -> None:
    step = copy_step(plan("FROM a\nCOPY <<E /f\nx\nE\n"))
    assert digest(replace(step, inline=(InlineFile(name="E", content="\udcff"),))) != digest(step)


def test_credentials_in_an_address_are_in_no_part_and_do_not_count() -> None:
    def parts(password: str) -> tuple[str, str]:
        remote = RemoteFile(url=f"https://me:{password}@example.com/file", name="file")
        git = GitTree(
            url=f"https://{password}@example.com/repo.git#main", remote=f"https://{password}@example.com/repo.git"
        )
        made = step_digest(replace(COPY, remote=(remote,), git=(git,)), platform=AMD64)
        return made[0], json.dumps(made[1])

    first, said = parts("first")
    assert "first" not in said
    assert "https://xxxxx@example.com/file" in said
    assert parts("second")[0] == first
