"""DeLong by ranks is DeLong by comparing every pair, on any small data."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mlops_assets.lib.comparison.delong import Paired, TooFewError, delong

Floats = NDArray[np.float64]
Rows = list[tuple[bool, int, int]]

# Few distinct scores, so that ties are common.
ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=4)


def columns(rows: Rows) -> tuple[Floats, Floats, Floats]:
    target, one, other = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    assume(2 <= target.sum() <= len(target) - 2)
    return target, one, other


def by_pairs(target: Floats, scores: list[Floats]) -> tuple[list[float], float]:
    """The paper's formulas: structural components of every pair, their covariances, a contrast."""
    of_positive, of_negative, areas = [], [], []
    for score in scores:
        x, y = score[target == 1][:, None], score[target == 0][None, :]
        wins = (x > y) + (x == y) / 2
        areas.append(float(wins.mean()))
        of_positive.append(wins.mean(axis=1))
        of_negative.append(wins.mean(axis=0))
    ten, one = np.cov(of_positive), np.cov(of_negative)
    covariance = ten / len(of_positive[0]) + one / len(of_negative[0])
    contrast = np.array([1, -1])
    return areas, float(contrast @ covariance @ contrast)


@given(ROWS)
def test_it_agrees_with_every_pair(rows: Rows) -> None:
    target, one, other = columns(rows)
    found = delong(target, one, other)
    areas, variance = by_pairs(target, [one, other])
    assert [found.one, found.other] == pytest.approx(areas, abs=1e-12)
    assert found.standard_error**2 == pytest.approx(variance, abs=1e-12)


@given(ROWS)
def test_the_areas_are_those_of_scikit_learn(rows: Rows) -> None:
    target, one, other = columns(rows)
    found = delong(target, one, other)
    expected = [roc_auc_score(target, one), roc_auc_score(target, other)]
    assert [found.one, found.other] == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_changing_sides_changes_the_sign_alone(rows: Rows) -> None:
    target, one, other = columns(rows)
    there, back = delong(target, one, other), delong(target, other, one)
    assert back == Paired(there.other, there.one, there.standard_error)


@given(ROWS)
def test_only_the_order_of_scores_counts(rows: Rows) -> None:
    target, one, other = columns(rows)
    assert delong(target, np.exp(one), other**3 - 7) == delong(target, one, other)


@given(ROWS)
def test_scores_that_rank_alike_differ_surely_by_nothing(rows: Rows) -> None:
    target, one, _ = columns(rows)
    found = delong(target, one, one * 2)
    assert (found.difference, found.standard_error) == (0, 0)


@pytest.mark.parametrize("positives", [0, 1, 9, 10])
def test_a_class_of_fewer_than_two_is_an_error(positives: int) -> None:
    target = (np.arange(10) < positives).astype(np.float64)
    with pytest.raises(TooFewError, match=f"10 rows, {positives} of them positive"):
        delong(target, np.arange(10.0), np.arange(10.0))


def test_a_score_that_is_none_is_an_error() -> None:
    score = np.array([0.1, np.nan, 0.3, 0.4])
    with pytest.raises(ValueError, match="1 of 4 rows have no score"):
        delong(np.array([0.0, 1, 0, 1]), score, np.arange(4.0))
