"""In what two instructions differ."""

from __future__ import annotations

from plans import plan

from builder.plan.cachekey import step_digest
from builder.plan.difference import differences


def changed(old: str, new: str) -> tuple[str, ...]:
    """What changed between the last steps of two Dockerfiles."""
    parts = []
    for text in (old, new):
        made = plan(f"FROM a\n{text}\n")
        parts.append(step_digest(made.target.steps[-1], platform=made.platform)[1])
    return differences(*parts)


def test_nothing_differs_in_equal_instructions() -> None:
    assert changed("RUN true", "RUN true") == ()


def test_a_command_is_told_as_it_was_written() -> None:
    assert changed("RUN make", "RUN make test") == ('the command changed: it was "make", and is "make test"',)
    assert changed('RUN ["a"]', 'RUN ["b"]') == ('the command changed: it was ["a"], and is ["b"]',)


def test_variables_are_told_one_by_one() -> None:
    assert changed("ENV A=1 B=2\nRUN true", "ENV A=2 C=3\nRUN true") == (
        'the variable A changed: it was "1", and is "2"',
        'the variable C is new: "3"',
        'the variable B is gone: it was "2"',
    )
    assert changed("ENV A=1 B=2\nRUN true", "ENV B=2 A=1\nRUN true") == ("the variables have another order",)


def test_parts_have_the_names_that_people_give_them() -> None:
    assert changed("COPY a /b", "COPY --chmod=755 a /c/") == (
        'the destination changed: it was "/b", and is "/c"',
        "whether the destination is a folder changed: it was false, and is true",
        '--chmod changed: it was null, and is "755"',
    )


def test_long_values_are_cut() -> None:
    (line,) = changed("RUN " + "x" * 1000, "RUN y")
    assert len(line) < 300
