"""Small Dockerfiles full of owners give on every rung what root makes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from worlds.comparing import Contents, differences
from worlds.ladder import CALLS, FILES, LINKS, ROOT, SEEN, TOUCHED, USERS, Case, Rung, matrix

Climb = Callable[[Case, Rung], Contents]


@pytest.mark.parametrize(("rung", "case"), matrix(CALLS, FILES, LINKS, SEEN, TOUCHED, USERS), ids=str)
def test_owners_are_root_s_on_every_rung(case: Case, rung: Rung, climb: Climb) -> None:
    found = differences(climb(case, ROOT), climb(case, rung))
    assert not found, "\n".join(found)
