"""The verdict on a window: what makes it drift, what does not, and what cannot be judged."""

import json
from typing import Any

import numpy as np
import pytest

from mlops_assets.lib.drift.sides import Column, Pair
from mlops_assets.lib.drift.table import bar, table
from mlops_assets.lib.drift.window import Window, compare_on
from mlops_assets.lib.spec.drift import Drift, MinimumEffect
from tests.lib.drift.helpers import column, sides, window


def rows(count: int, seed: int, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    made = {f"x{n}": random.normal(size=count) for n in range(6)}
    made |= {"k": random.choice(["a", "b", "c"], count)}
    return made | changes


def drifted(found: Window) -> set[str]:
    return {finding.measured.name for finding in found.findings if finding.drifted}


def compared(current: dict[str, Any], plan: Drift | None = None) -> Window:
    return window(rows(2000, 1), current, ["k"], plan)


def test_one_shifted_column_among_many_is_found_and_named() -> None:
    found = compared(rows(500, 2) | {"x3": np.random.default_rng(5).normal(0.6, size=500)})
    assert found.drifted
    assert drifted(found) == {"x3"}
    assert found.score == 1 / 7
    assert found.effect == found.findings[0].effect > 4
    assert found.reason.startswith("x3 shifted by 0.")
    assert "standard deviations (KS 0." in found.reason
    assert json.loads(json.dumps(found.record(), allow_nan=False))["drifted"]
    assert "| x3 | █" in table(found)


def test_the_same_rows_have_not_drifted() -> None:
    found = compared(rows(500, 2))
    assert not found.drifted
    assert found.score == 0
    assert found.reason == "nothing drifted in 7 columns of 500 rows"


def test_what_is_sure_and_small_is_no_drift() -> None:
    reference, current = rows(30_000, 1), rows(30_000, 2)
    current["x0"] = current["x0"] + 0.05
    found = window(reference, current, ["k"])
    (x0,) = [f for f in found.findings if f.measured.name == "x0"]
    assert x0.found["distribution"] < 1e-6
    assert not found.drifted
    least = Drift(minimum_effect=MinimumEffect(shift=0.04))
    assert drifted(window(reference, current, ["k"], least)) == {"x0"}


def test_what_is_large_and_unsure_is_no_drift() -> None:
    plan = Drift(minimum_rows=20)
    found = window({"x": np.arange(20.0)}, {"x": np.arange(20.0) + 5}, (), plan)
    assert found.findings[0].effect > 1
    assert not found.drifted


def test_missing_values_and_new_ones_are_drift() -> None:
    current = rows(500, 2)
    current["x1"] = np.where(np.arange(500) % 4, current["x1"], np.nan)
    current["x2"] = np.full(500, np.nan)
    current["k"] = np.where(np.arange(500) % 5, current["k"], "new")
    found = compared(current)
    assert drifted(found) == {"x1", "x2", "k"}
    assert "x2 is missing in 100% of the rows (0% before)" in found.reason
    assert "k has the new value 'new' in 20% and k has other shares" in found.reason
    assert found.findings[-1].measured.note is None
    (x2,) = [f for f in found.findings if f.measured.name == "x2"]
    assert x2.measured.note == "there are no values"
    assert x2.measured.test is None


@pytest.mark.parametrize("count", [0, 1, 99])
def test_few_rows_are_not_judged(count: int) -> None:
    found = compared(rows(count, 2) if count else {name: [] for name in rows(1, 1)})
    assert not found.drifted
    assert found.score is None
    said = f"not judged: there are {count or 'no'} rows, and drift.minimum_rows is 100"
    assert found.reason == said
    assert window(rows(50, 1), rows(200, 2), ["k"]).reason.startswith(
        "not judged: the reference has 50 rows"
    )
    assert table(found) == said


def test_one_value_on_both_sides_says_nothing_and_another_one_does() -> None:
    found = window({"x": np.ones(200)}, {"x": np.ones(200)})
    assert (found.drifted, found.findings[0].measured.test) == (False, None)
    found = window({"x": np.ones(200)}, {"x": np.full(200, 1.5)})
    assert found.reason.startswith("x was constant and is not")
    assert found.drifted


def test_a_renamed_column_is_named_and_the_others_are_judged() -> None:
    current = rows(500, 2)
    current["age"] = current.pop("x0")
    found = compared(current)
    assert found.left_out == ["the rows have no input x0"]
    assert len(found.findings) == 6
    assert "the rows have no input x0." in table(found)


def test_features_are_shown_and_decide_nothing() -> None:
    reference, current = rows(500, 1), rows(500, 2, x5=np.random.default_rng(1).normal(3, size=500))
    columns = [column("x0"), Column("x5", "feature", True, "x5", "x5")]
    with sides(reference, current) as database:
        found = compare_on(database, [Pair("reference", "current", columns)], Drift())
    assert drifted(found) == {"x5"}
    assert not found.drifted
    assert found.score == 0
    assert "x5 (feature)" in table(found)


def test_the_spec_says_how_many_columns_make_a_window() -> None:
    current = rows(500, 2)
    current["x0"] = current["x0"] + 1
    found = compared(current, Drift(columns=2))
    assert not found.drifted
    assert found.score == 1 / 7
    assert found.reason.startswith("not enough to alarm: x0 shifted by 0.9")
    assert compared(current | {"x1": current["x1"] + 1}, Drift(columns=2)).drifted


def test_only_the_largest_are_in_the_sentence() -> None:
    current = rows(500, 2)
    moved = {f"x{n}": current[f"x{n}"] + n + 1 for n in range(6)}
    found = compared(current | moved)
    assert found.reason.count("shifted") == 3
    assert found.reason.endswith(", and 3 more columns drifted")


def test_a_bar_is_full_at_five_times_the_least_effect() -> None:
    assert bar(0) == "░" * 10
    assert bar(1) == "██░░░░░░░░"
    assert bar(99) == "█" * 10
