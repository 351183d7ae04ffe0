"""Credentials in addresses are for the server that they name, and for nobody who reads a log."""

from __future__ import annotations

import pytest
from plans import copy_step, plan, run_step

from builder.plan.redaction import redacted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://me:secret@example.com/x", "https://xxxxx@example.com/x"),
        ("HTTP://token@example.com", "HTTP://xxxxx@example.com"),
        ("a https://a:b@c https://d:e@f", "a https://xxxxx@c https://xxxxx@f"),
        ("https://example.com/@scope/x?q=a@b", "https://example.com/@scope/x?q=a@b"),
        ("ssh://git@example.com/x git@example.com:x", "ssh://git@example.com/x git@example.com:x"),
    ],
)
def test_who_logs_in_is_masked_and_nothing_else(text: str, told: str) -> None:
    assert redacted(text) == told


def test_a_step_is_shown_without_the_token_that_an_argument_gave() -> None:
    text = "FROM a\nARG T=secret\nADD https://me:$T@example.com/f /\nRUN git clone https://me:$T@example.com/r\n"
    assert copy_step(plan(text)).title == "ADD https://xxxxx@example.com/f /"
    assert run_step(plan(text)).title == "RUN git clone https://xxxxx@example.com/r"
