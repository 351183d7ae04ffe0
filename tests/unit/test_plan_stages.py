"""Stages: what is built, in which order, upon what."""

from __future__ import annotations

import pytest
from plans import AMD64, ARM64, copy_step, history, image, mistake, plan, run_step

from builder.dockerfile.parse import parse
from builder.errors import InternalError
from builder.plan.compile import compile_plan, mention, missing_bases
from builder.plan.steps import (
    BaseKey,
    BindMount,
    ContextInput,
    ImageInput,
    Options,
    Plan,
    ScratchInput,
    StageInput,
)


def names(made: Plan) -> list[str]:
    return [stage.name for stage in made.stages]


def test_stages_that_nobody_needs_are_left_out() -> None:
    made = plan("FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=one x /\n")
    assert names(made) == ["one", "three"]


def test_only_the_bases_of_needed_stages_are_asked_for() -> None:
    dockerfile = parse(b"FROM a AS one\nFROM b AS two\nFROM two\nCOPY --from=e /x /\n", "Dockerfile")
    missing = missing_bases(dockerfile, Options(), {})
    assert missing == {BaseKey("b", AMD64), BaseKey("e", AMD64)}


def test_compiling_too_early_is_our_own_mistake() -> None:
    with pytest.raises(InternalError) as caught:
        compile_plan(parse(b"FROM a\n", "Dockerfile"), Options(), {})
    assert caught.value.message == "compiled before all bases were known: a"


def test_an_unnamed_stage_is_called_by_its_index() -> None:
    assert names(plan("FROM a\nFROM b\nCOPY --from=0 x /\n")) == ["0", "1"]


@pytest.mark.parametrize("target", ["one", "ONE"])
def test_the_target_is_found_in_any_case(target: str) -> None:
    made = plan("FROM a AS One\nFROM b AS two\n", target=target)
    assert names(made) == ["one"]


def test_a_stage_begins_with_another() -> None:
    made = plan("FROM a AS one\nENV A=1\nRUN x\nFROM one\nENV B=2\n")
    assert made.target.root == StageInput(index=0)
    assert made.target.config.config.env[1:] == ("A=1", "B=2")
    assert history(made) == ["ENV B=2"]
    assert [entry.created_by for entry in made.target.config.history] == [
        "base layer",
        "ENV A=1",
        "RUN /bin/sh -c x # buildkit",
        "ENV B=2",
    ]


def test_steps_are_numbered_over_the_whole_plan() -> None:
    made = plan("FROM a AS one\nRUN x\nRUN y\nFROM b\nENV A=1\nRUN z\n COPY --from=one x /\n")
    assert [step.number for stage in made.stages for step in stage.steps] == [1, 2, 3, 4]
    assert made.total == 4


def test_from_takes_the_nearest_stage_above_and_copy_the_last_of_a_name() -> None:
    made = plan("FROM a AS x\nFROM x AS y\nFROM b AS x\nFROM y\nCOPY --from=x /f /\n")
    assert names(made) == ["x", "y", "x", "3"]
    assert made.stages[1].root == StageInput(index=0)
    assert copy_step(made).input == StageInput(index=2)


def test_copy_finds_a_stage_in_any_case_and_by_number() -> None:
    made = plan("FROM a AS one\nFROM b\nCOPY --from=ONE x /\nCOPY --from=0 y /\n")
    assert copy_step(made).input == copy_step(made, 1).input == StageInput(index=0)


def test_from_does_not_find_a_stage_by_capitals() -> None:
    error = mistake("FROM a AS one\nFROM One\n")
    assert error.message.startswith('failed to parse stage name "One": ')
    assert error.hint == "the stage's name is one"


def test_scratch_is_an_empty_root() -> None:
    made = plan("FROM scratch\nCOPY --from=scratch / /x/\nRUN --mount=type=cache,target=/c x\n")
    assert made.target.root == ScratchInput()
    assert copy_step(made).input == ScratchInput()
    assert made.target.config.config.working_dir == "/"


def test_mounts_need_the_stage_they_name() -> None:
    made = plan("FROM a AS one\nFROM b\nRUN --mount=from=one,target=/m x\n")
    mount = run_step(made).mounts[0]
    assert isinstance(mount, BindMount)
    assert mount.input == StageInput(index=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "FROM a AS first\nCOPY --from=second /f /\nFROM first AS second\nFROM first AS last\n",
            'cannot copy from stage "second", it needs to be defined before current stage "first"',
        ),
        (
            "FROM a\nRUN --mount=from=second,target=/m x\nFROM a AS second\nFROM a\nCOPY --from=0 / /\n",
            'cannot mount from stage "second", it needs to be defined before current stage "stage-0"',
        ),
        ("FROM a AS x\nCOPY --from=x /f /\n", "circular dependency detected on stage: x"),
        ("FROM a\nCOPY --from=0 /f /\n", "circular dependency detected on stage: stage-0"),
        (
            "FROM a AS x\nCOPY --from=y /f /\nFROM a AS y\nRUN --mount=from=x,target=/m x\n",
            "circular dependency detected on stage: x",
        ),
        ("FROM a\nCOPY --from=5 /f /\n", "invalid stage index 5"),
        ("FROM a\nCOPY --from=-1 /f /\n", "invalid stage index -1"),
        (
            "FROM a\nARG S=x\nCOPY --from=$S /f /\n",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope"
            " as a workaround",
        ),
        (
            "FROM a\nRUN --mount=from=$S,target=/m x\n",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("FROM --platform=$NONE a\n", "empty platform value from expression $NONE"),
    ],
)
def test_what_a_stage_cannot_take(text: str, message: str) -> None:
    assert mistake(text).message == message


def test_many_stages_in_a_row_are_no_recursion() -> None:
    text = "FROM a AS s0\n" + "".join(f"FROM a AS s{i}\nCOPY --from=s{i - 1} /f /\n" for i in range(1, 1500))
    assert len(plan(text).stages) == 1500


def test_an_unknown_target_names_the_nearest_and_lists_all() -> None:
    error = mistake("FROM a AS first\nFROM b AS second\n", target="frist")
    assert error.message == 'target stage "frist" could not be found (did you mean first?)'
    assert error.hint == "stages are first, second"


def test_a_number_is_no_target() -> None:
    assert mistake("FROM a\n", target="0").message == 'target stage "0" could not be found'


def test_all_mistakes_of_a_kind_come_at_once() -> None:
    error = mistake("FROM a\nCOPY --from=7 /f /\nCOPY --from=8 /f /\n")
    assert [error.message, *(other.message for other in error.also)] == [
        "invalid stage index 7",
        "invalid stage index 8",
    ]


def test_mistakes_of_the_instructions_come_at_once() -> None:
    error = mistake("FROM a AS one\nSTOPSIGNAL SIGX\nFROM one\nEXPOSE x\nRUN fine\n")
    messages = [error.message, *(other.message for other in error.also)]
    assert messages == ["invalid signal: SIGX", "invalid containerPort: x"]


def test_what_is_wrong_in_a_stage_that_is_not_needed_does_not_matter() -> None:
    assert len(plan("FROM a\nSTOPSIGNAL SIGX\nFROM b\n").stages) == 1


class TestPlatforms:
    def test_the_target_platform_is_the_default(self) -> None:
        made = plan("FROM a\n", platform=ARM64)
        assert made.target.root == ImageInput(base=BaseKey("a", ARM64))
        assert made.target.config.platform == ARM64

    def test_a_stage_may_say_another_and_the_image_is_still_what_was_asked_for(self) -> None:
        made = plan("FROM --platform=linux/arm64 a\n")
        assert made.target.root == ImageInput(base=BaseKey("a", ARM64))
        assert made.target.platform == ARM64
        assert made.target.config.platform == AMD64

    def test_without_a_wish_the_base_decides(self) -> None:
        made = plan("FROM --platform=linux/arm64 a\n", explicit_platform=False)
        assert made.target.config.platform == ARM64

    def test_a_stage_upon_another_has_its_platform(self) -> None:
        made = plan("FROM --platform=linux/arm64 a AS one\nFROM one\nRUN x\n")
        assert made.target.platform == ARM64

    def test_what_is_no_platform_is_refused(self) -> None:
        error = mistake("FROM --platform=l!nux a\n")
        assert error.message == "failed to parse platform l!nux: invalid platform: 'l!nux'"


class TestNamedContexts:
    contexts = frozenset({"ctx", "img"})

    def test_a_folder_is_copied_from_and_mounted(self) -> None:
        text = "FROM a\nCOPY --from=ctx x /\nRUN --mount=from=ctx,target=/m x\n"
        made = plan(text, {"ctx": None}, contexts=self.contexts)
        assert copy_step(made).input == ContextInput(name="ctx")
        mount = run_step(made).mounts[0]
        assert isinstance(mount, BindMount)
        assert mount.input == ContextInput(name="ctx")

    @pytest.mark.parametrize("name", ["img", "img:latest", "docker.io/library/img"])
    def test_it_shadows_an_image_under_all_its_names(self, name: str) -> None:
        made = plan(f"FROM {name}\n", contexts=self.contexts)
        assert made.target.root == ImageInput(base=BaseKey("img", AMD64))

    def test_another_tag_is_another_image(self) -> None:
        made = plan("FROM img:1\n", contexts=self.contexts)
        assert made.target.root == ImageInput(base=BaseKey("img:1", AMD64))

    def test_it_shadows_a_stage_whose_instructions_are_not_run(self) -> None:
        made = plan("FROM a AS img\nCOPY --from=z f /\nRUN x\nFROM img\nRUN y\n", contexts=self.contexts)
        assert made.target.root == ImageInput(base=BaseKey("img", AMD64))
        assert [len(stage.steps) for stage in made.stages] == [1]

    def test_a_shadowed_target_is_the_image_itself(self) -> None:
        made = plan("FROM a AS img\nRUN x\n", contexts=self.contexts)
        assert made.target.root == ImageInput(base=BaseKey("img", AMD64))
        assert made.target.steps == ()

    def test_from_a_folder_is_a_layer_of_all_that_is_in_it(self) -> None:
        made = plan("FROM ctx\nRUN x\n", {"ctx": None}, contexts=self.contexts)
        assert made.target.root == ScratchInput()
        step = copy_step(made)
        assert (step.input, step.sources, step.target) == (ContextInput(name="ctx"), ("/",), "/")
        assert history(made) == ["*[context ctx] load from client", "*RUN /bin/sh -c x # buildkit"]

    def test_scratch_and_context_cannot_be_shadowed(self) -> None:
        made = plan("FROM scratch\n", contexts=frozenset({"scratch"}))
        assert made.target.root == ScratchInput()


def test_a_name_that_cannot_be_an_image_is_pointed_at() -> None:
    error = mistake("FROM base:bad:tag\n")
    assert error.message.startswith('failed to parse stage name "base:bad:tag": ')
    assert error.where is not None
    assert error.where.describe() == "Dockerfile:1\n  FROM base:bad:tag\n       ^^^^^^^^^^^^"


def test_the_bad_name_of_a_stage_that_is_not_needed_counts_too() -> None:
    assert mistake("FROM base:bad:tag\nFROM a\n").code == "invalid-reference"


def test_an_image_that_cannot_be_had_is_found_again_in_the_file() -> None:
    dockerfile = parse(b"FROM a AS builder\nFROM b\nCOPY --from=biulder f /\n", "Dockerfile")
    found = mention(dockerfile, Options(), {}, BaseKey("biulder", AMD64))
    assert found is not None
    assert found.where.line == 3
    assert found.hint == "did you mean builder?"
    assert mention(dockerfile, Options(), {}, BaseKey("nowhere", AMD64)) is None


class TestTriggers:
    def test_those_of_an_image_run_first_and_are_not_inherited(self) -> None:
        base = image(on_build=("COPY . /app/", "RUN make"))
        made = plan("FROM a\nRUN x\n", {"a": base})
        assert history(made) == [
            "*COPY . /app/ # buildkit",
            "*RUN /bin/sh -c make # buildkit",
            "*RUN /bin/sh -c x # buildkit",
        ]
        assert made.target.config.config.on_build == ()
        assert made.target.steps[0].title == "ONBUILD COPY . /app/"

    def test_those_of_a_stage_run_in_the_stage_upon_it_and_only_there(self) -> None:
        made = plan("FROM a AS one\nONBUILD RUN y\nRUN x\nFROM one AS two\nFROM two\nRUN z\n")
        assert [len(stage.steps) for stage in made.stages] == [1, 1, 1]
        assert made.stages[1].steps[0].title == "ONBUILD RUN y"

    def test_they_are_stored_and_leave_no_history(self) -> None:
        made = plan("FROM a\nONBUILD COPY $X /b\nonbuild run  x\n")
        assert made.target.config.config.on_build == ("COPY $X /b", "run  x")
        assert history(made) == []

    def test_they_may_take_from_a_further_image(self) -> None:
        base = image(on_build=("COPY --from=other /f /",))
        dockerfile = parse(b"FROM a\n", "Dockerfile")
        first = missing_bases(dockerfile, Options(), {})
        assert first == {BaseKey("a", AMD64)}
        made = plan("FROM a\n", {"a": base})
        assert copy_step(made).input == ImageInput(base=BaseKey("other", AMD64))

    def test_they_may_take_from_a_stage_of_the_file(self) -> None:
        base = image(on_build=("COPY --from=src /f /",))
        made = plan("FROM s AS src\nFROM a\n", {"a": base})
        assert [stage.name for stage in made.stages] == ["src", "1"]

    def test_a_wrong_one_is_shown_at_the_from(self) -> None:
        error = mistake("FROM a\n", {"a": image(on_build=("STOPSIGNAL nonsense",))})
        assert error.message == "ONBUILD: invalid signal: nonsense"
        assert error.where is not None
        assert error.where.describe().startswith("Dockerfile:1\n")

    def test_one_that_is_no_instruction_is_refused(self) -> None:
        error = mistake("FROM a\n", {"a": image(on_build=("FLY",))})
        assert error.where is not None
        assert error.where.describe().startswith("Dockerfile:1\n")


def test_all_stages_are_planned_for_a_check() -> None:
    made = plan("FROM a AS one\nRUN x\nFROM b AS two\n", all_stages=True)
    assert names(made) == ["one", "two"]


def test_labels_given_by_the_caller_win() -> None:
    made = plan("FROM a\nLABEL a=1 b=2\n", labels={"b": "3", "c": "4"})
    assert made.target.config.config.labels == {"a": "1", "b": "3", "c": "4"}
    assert history(made) == ["LABEL a=1 b=2"]


def test_fields_of_a_base_that_mean_nothing_are_left_behind() -> None:
    base = image(extra={"Hostname": "x"})
    made = plan("FROM a\n", {"a": base})
    assert made.target.config.config.extra == {}


def test_a_context_for_one_platform_comes_before_that_for_all() -> None:
    contexts = frozenset({"img", "img::linux/arm64"})
    made = plan("FROM img\nRUN x\n", contexts=contexts, platform=ARM64)
    assert made.stages[0].root == ImageInput(base=BaseKey("img::linux/arm64", ARM64))
    made = plan("FROM img\nRUN x\n", contexts=contexts)
    assert made.stages[0].root == ImageInput(base=BaseKey("img", AMD64))


def test_the_empty_image_is_the_targets_whatever_is_asked_for() -> None:
    made = plan("FROM --platform=windows/amd64 scratch\nCMD x\n", explicit_platform=False)
    assert str(made.target.platform) == "linux/amd64"
    assert made.target.config.config.cmd == ("/bin/sh", "-c", "x")


def test_a_stage_that_a_folder_replaced_has_no_configuration() -> None:
    contexts = frozenset({"y"})
    made = plan("FROM a AS y\nFROM y\nCOPY f /\n", {"y": None}, contexts=contexts)
    assert made.target.config.config.working_dir == ""
    assert plan("FROM y\nCOPY f /\n", {"y": None}, contexts=contexts).target.config.config.working_dir == "/"
