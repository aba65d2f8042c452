"""The budget of error holds over any history of contests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lib.comparison.budget import level, look


def contest(
    challenger: str, champion: str = "a", rows: int = 100, **changes: Any
) -> dict[str, Any]:
    verdict = {"challenger": challenger, "champion": champion, "rows": rows, "look": 1, **changes}
    return {"decision": "rejected", "verdict": verdict}


def test_each_challenger_is_one_look() -> None:
    entries = [contest("b"), contest("c"), contest("b")]
    assert look([], "a", "b", 100, 0.5) == 1
    assert look(entries, "a", "d", 100, 0.5) == 3
    assert look(entries, "a", "c", 100, 0.5) == 2


def test_what_was_not_compared_spends_nothing() -> None:
    entries: list[dict[str, Any]] = [
        {"decision": "promoted"},
        {"decision": "rejected", "verdict": None},
        contest("b", look=None, rows=0),
        contest("c"),
    ]
    assert look(entries, "a", "d", 100, 0.5) == 2


def test_a_budget_is_a_champions_own() -> None:
    entries = [contest("b"), contest("c"), {"decision": "promoted"}, contest("d", "c")]
    assert look(entries, "c", "e", 100, 0.5) == 2
    # After a rollback it goes on where it was.
    assert look(entries, "a", "e", 100, 0.5) == 3


@pytest.mark.parametrize(("rows", "number"), [(199, 4), (200, 1), (50, 4)])
def test_fresh_rows_renew_it_once_they_are_the_share(rows: int, number: int) -> None:
    entries = [contest(name, rows=100 + n) for n, name in enumerate("bcd")]
    assert look(entries, "a", "e", rows, 0.5) == number
    # From then on it is counted from there.
    entries.append(contest("e", rows=rows))
    assert look(entries, "a", "f", rows, 0.5) == number + 1


@given(st.lists(st.sampled_from("bcdefgh"), max_size=40), st.floats(0.001, 0.5))
def test_all_contests_together_spend_no_more_than_there_is(names: list[str], alpha: float) -> None:
    entries: list[dict[str, Any]] = []
    spent: dict[str, float] = {}
    for name in names:
        spent[name] = level(alpha, look(entries, "a", name, 100, 0.5))
        entries.append(contest(name))
    assert sum(spent.values()) <= alpha
