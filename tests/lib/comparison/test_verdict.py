"""Verdicts of rows whose difference is known."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlops_assets.lib.comparison.delong import Paired
from mlops_assets.lib.comparison.rows import JointRows
from mlops_assets.lib.comparison.statistic import Difference, Part, difference, out_of_fold_part
from mlops_assets.lib.comparison.verdict import Terms, Verdict, judged, outcome_of

Floats = NDArray[np.float64]
TERMS = Terms(margin=0.01, level=0.025, look=1, folds=5, candidates=1)


def rows_of(
    count: int, challenger: float, champion: float, *, noise: float = 0.3, test: float = 0.2
) -> JointRows:
    """Rows on which the classes lie so many deviations apart, for either."""
    random = np.random.default_rng(1)
    target = (random.random(count) < 0.3).astype(np.float64)
    common = random.normal(size=count)
    one, other = (
        apart * target + common + noise * random.normal(size=count)
        for apart in (challenger, champion)
    )
    nowhere = np.zeros(count, dtype=bool)
    return JointRows(target, random.random(count) < test, one, other, nowhere, nowhere, {})


def verdict(rows: JointRows, terms: Terms = TERMS) -> Verdict:
    found = judged(rows, terms, "b", "a")
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["outcome"] == found.outcome
    return found


@pytest.mark.parametrize(
    ("challenger", "champion", "outcome"),
    [(2.0, 1.0, "better"), (1.0, 2.0, "worse"), (1.0, 1.0, "equivalent")],
)
def test_many_rows_tell(challenger: float, champion: float, outcome: str) -> None:
    found = verdict(rows_of(40_000, challenger, champion))
    assert found.outcome == outcome
    assert found.said.startswith(f"{outcome}: ")
    assert found.rows == 40_000
    assert found.test is not None
    assert found.out_of_fold is not None
    assert found.test.rows + found.out_of_fold.rows == 40_000
    assert str(found.difference) in found.said


def test_few_rows_do_not() -> None:
    found = verdict(rows_of(200, 1.05, 1.0))
    assert found.outcome == "inconclusive"
    assert "contest 1 of its budget of error, 0.025 at either end" in found.said


def test_the_same_scores_are_a_tie() -> None:
    found = verdict(rows_of(100, 1.0, 1.0, noise=0.0))
    assert (found.outcome, found.answers_alike) == ("equivalent", True)
    assert found.difference == Difference(0, 0, 0)
    assert not verdict(rows_of(40_000, 1.0, 1.0)).answers_alike


def test_a_test_side_of_one_class_is_inconclusive() -> None:
    rows = rows_of(1000, 3.0, 1.0)
    rows.target[rows.test] = 1
    found = verdict(rows)
    assert (found.outcome, found.difference, found.look) == ("inconclusive", None, None)
    assert "the test side cannot tell" in found.said


def test_rows_without_an_honest_score_are_left_out() -> None:
    rows = rows_of(2000, 2.0, 1.0)
    rows.champion[:500] = np.nan
    rows.challenger[400:600] = np.nan
    assert verdict(rows).rows == 1400


def test_without_out_of_fold_scores_the_test_rows_speak_alone() -> None:
    rows = rows_of(5000, 2.0, 1.0)
    rows.champion[~rows.test] = np.nan
    found = verdict(rows)
    assert found.out_of_fold is None
    assert found.test is not None
    assert found.difference == found.test.difference
    assert found.outcome == "better"


def test_the_out_of_fold_part_pays_for_its_folds_and_its_choice() -> None:
    paired = Paired(0.85, 0.80, 0.02)
    alone = difference([Part(1000, 300, paired)], 0.025)
    of_one, of_five = (
        difference([out_of_fold_part(1000, 300, paired, 5, n)], 0.025) for n in (1, 5)
    )
    assert alone.estimate == of_one.estimate == of_five.estimate == pytest.approx(0.05)
    assert alone.high < of_one.high == of_five.high
    assert alone.low > of_one.low > of_five.low


PARTS = st.builds(
    lambda rows, share, one, other, error: Part(
        rows, max(2, min(rows - 2, round(share * rows))), Paired(one, other, error)
    ),
    st.integers(4, 10_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.3),
)


@given(st.lists(PARTS, min_size=1, max_size=2), st.floats(1e-6, 0.2), st.floats(0.001, 0.1))
def test_an_interval_holds_its_estimate_and_is_named_by_it(
    parts: list[Part], level: float, margin: float
) -> None:
    found = difference(parts, level)
    assert -1 <= found.low <= found.estimate + 1e-12
    assert found.estimate - 1e-12 <= found.high <= 1
    ends = [part.paired.difference for part in parts]
    assert min(ends) - 1e-12 <= found.estimate <= max(ends) + 1e-12
    outcome = outcome_of(found, margin)
    assert (outcome == "better") <= (found.low > 0)
    assert (outcome == "worse") <= (found.high < 0)
    assert (outcome == "equivalent") == (found.low > -margin and found.high < margin)


@given(st.floats(1e-6, 0.1))
def test_a_stricter_level_is_a_wider_interval(level: float) -> None:
    part = Part(500, 100, Paired(0.8, 0.75, 0.03))
    strict, loose = difference([part], level / 2), difference([part], level)
    assert strict.low < loose.low
    assert loose.high < strict.high


def test_both_parts_weigh_by_their_size() -> None:
    few = Part(20, 10, Paired(1.0, 1.0, 0.0))
    many = Part(2000, 1000, Paired(0.8, 0.7, 0.02))
    found = difference([few, many], 0.025)
    # The few that both order perfectly have no variance, and do not outweigh the others.
    assert found.estimate == pytest.approx(0.1, abs=0.002)
    assert math.isclose(found.high - found.low, 2 * 1.96 * 0.02, rel_tol=0.02)


def outcome(low: float, high: float) -> Any:
    return outcome_of(Difference((low + high) / 2, low, high), 0.01)


def test_limits_themselves_are_on_the_cautious_side() -> None:
    assert outcome(0.0, 0.2) == outcome(-0.2, 0.0) == "inconclusive"
    assert outcome(-0.01, 0.005) == outcome(-0.005, 0.01) == "inconclusive"
    assert outcome(0.001, 0.009) == "equivalent"
    assert outcome(0.001, 0.01) == "better"
