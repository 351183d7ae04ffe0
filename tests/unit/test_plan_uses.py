"""Who takes from whom: which stages end where only one other begins."""

from __future__ import annotations

import pytest
from plans import plan

from builder.plan.steps import StageInput
from builder.plan.uses import inputs_of, used_once

CASES = {
    "a stage that goes on": ("FROM debian AS one\nRUN 1\nFROM one\nRUN 2\n", {0}),
    "the image itself": ("FROM debian\nRUN 1\n", set()),
    "the image under another name": ("FROM debian AS one\nRUN 1\nFROM one\nLABEL a=b\n", set()),
    "two that begin with it": (
        "FROM debian AS one\nRUN 1\nFROM one AS two\nRUN 2\nFROM one\nCOPY --from=two /2 /\n",
        set(),
    ),
    "one that begins with it and one that copies from it": (
        "FROM debian AS one\nRUN 1\nFROM one\nCOPY --from=one /1 /again\n",
        set(),
    ),
    "one that begins with it and one that mounts it": (
        "FROM debian AS one\nRUN 1\nFROM one AS two\nRUN 2\nFROM two\nRUN --mount=from=one,target=/mnt 3\n",
        {1},
    ),
    "under two names": (
        "FROM debian AS one\nRUN 1\nFROM one AS also\nLABEL a=b\nFROM also AS two\nRUN 2\n"
        "FROM one\nCOPY --from=two /2 /\n",
        set(),
    ),
    "two steps that copy from it": (
        "FROM debian AS one\nRUN 1\nFROM debian\nCOPY --from=one /1 /\nCOPY --from=one /2 /\n",
        set(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stage_is_used_once_where_one_begins_with_it_and_nobody_else_wants_it(case: str) -> None:
    text, expected = CASES[case]
    found = used_once(plan(text))
    begun = {stage.root for stage in plan(text).stages if stage.steps}
    assert {of.index for of in found & begun if isinstance(of, StageInput)} == expected


def test_a_step_takes_from_its_copies_and_mounts() -> None:
    made = plan(
        "FROM debian AS one\nRUN 1\nFROM debian\nCOPY --from=one /1 /\nCOPY . /\nWORKDIR /w\n"
        "RUN --mount=from=one,target=/a --mount=type=cache,from=one,target=/b --mount=type=tmpfs,target=/c 2\n"
    )
    taken = [[of.index for of in inputs_of(step) if isinstance(of, StageInput)] for step in made.target.steps]
    assert taken == [[0], [], [], [0, 0]]
