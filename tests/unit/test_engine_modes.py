"""--chmod, as BuildKit reads it."""

from __future__ import annotations

import stat

import pytest
from copies import HERE

from builder.engine.copying.modes import parse_mode
from builder.errors import DockerfileError

FILE, FOLDER = stat.S_IFREG, stat.S_IFDIR


@pytest.mark.parametrize(
    ("text", "mode"), [("755", 0o755), ("0644", 0o644), ("7777", 0o7777), ("0", 0), ("00001777", 0o1777)]
)
def test_an_octal_mode_is_the_mode(text: str, mode: int) -> None:
    change = parse_mode(text, HERE)
    assert change.apply(FILE | 0o600) == change.apply(FOLDER | 0o700) == change.octal == mode


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("u+x", FILE | 0o644, 0o744),
        ("+x", FILE | 0o644, 0o755),
        ("a-w", FILE | 0o666, 0o444),
        ("go=", FILE | 0o755, 0o700),
        ("u=rwX,go=rX", FILE | 0o600, 0o644),
        ("u=rwX,go=rX", FILE | 0o700, 0o755),
        ("u=rwX,go=rX", FOLDER | 0o700, 0o755),
        ("-X", FILE | 0o755, 0o644),
        ("g=u", FILE | 0o750, 0o770),
        ("go=u-w", FILE | 0o750, 0o755),
        ("o-u", FILE | 0o757, 0o750),
        ("g+o", FILE | 0o604, 0o644),
        ("u=rg", FILE | 0o070, 0o770),
        ("u+s", FILE | 0o755, 0o4755),
        ("g+s", FOLDER | 0o755, 0o2755),
        ("o+s", FILE | 0o755, 0o755),
        ("+t", FOLDER | 0o777, 0o1777),
        ("o+t", FOLDER | 0o777, 0o777),
        ("=", FILE | 0o6755, 0),
        ("a=rx", FILE | 0o1222, 0o1555),
        ("u=rw,g=r,o=", FILE | 0o777, 0o640),
        ("u+r-w", FILE | 0o200, 0o400),
        ("a+X", FILE | 0o644, 0o644),
        # X looks at the mode as it was before any change
        ("a+x,a-x,a+X", FILE | 0o644, 0o644),
        ("a-x,a+X", FILE | 0o755, 0o755),
    ],
)
def test_a_symbolic_mode_changes_bits(text: str, before: int, after: int) -> None:
    assert parse_mode(text, HERE).apply(before) == after


@pytest.mark.parametrize("text", ["10000", "8", "0x1ff", "7778", "999999999999999999", ""])
def test_a_number_that_is_no_mode_is_an_error(text: str) -> None:
    with pytest.raises(DockerfileError) as error:
        parse_mode(text, HERE)
    assert error.value.message == (
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
    )
    assert error.value.code == "invalid-chmod"


@pytest.mark.parametrize("text", ["u", "u=q", "x+r", "u=r,", ",u=r", "rwx", "u=rwx go=rx", "-755"])
def test_a_malformed_change_is_an_error(text: str) -> None:
    with pytest.raises(DockerfileError) as error:
        parse_mode(text, HERE)
    assert error.value.message == f"invalid chmod parameter: '{text}': invalid syntax"
    assert error.value.hint == "write it in octal, as 0755, or as chmod does, as u=rwX,go=rX"


@pytest.mark.parametrize(("text", "mode"), [("4750", 0o750), ("700", 0o700), ("u=rwx,go=", 0o755)])
def test_folders_on_the_way_get_the_permissions_of_an_octal_mode(text: str, mode: int) -> None:
    assert parse_mode(text, HERE).for_new_folders == mode
