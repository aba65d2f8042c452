import numpy as np
import pytest

from mlops_assets.lib.evaluation import score_intervals
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.ranked import Ranked, roc_auc
from mlops_assets.lib.evaluation.score_intervals import difference, shared_level
from tests.lib.evaluation.samples import sample


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    # Worked examples of Newcombe 1998 (two-sided intervals for the single proportion).
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_of_a_share_is_that_of_the_books(
    hits: int, rows: int, low: float, high: float
) -> None:
    found = score_intervals.share(hits, rows, 0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == hits / rows


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # Worked examples of Newcombe 1998 (interval estimation for the difference), method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_interval_of_a_difference_is_that_of_the_books(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(*(score_intervals.share(*counts, 0.95) for counts in (one, other)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_difference_changes_its_sign_with_the_sides() -> None:
    one, other = Interval(0.8, 0.7, 0.85), Interval(0.6, 0.3, 0.7)
    there, back = difference(one, other), difference(other, one)
    assert (there.low, there.value, there.high) == (-back.high, -back.value, -back.low)


@pytest.mark.parametrize("value", [0.0, 0.2, 0.5, 0.93, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (5, 40), (300, 20)])
def test_interval_of_a_roc_auc_has_a_width_everywhere(
    value: float, positives: int, negatives: int
) -> None:
    found = score_intervals.roc_auc(value, positives, negatives, 0.95)
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.high - found.low > 0.03
    # The other way round it is its mirror.
    mirror = score_intervals.roc_auc(1 - value, positives, negatives, 0.95)
    assert (1 - mirror.high, 1 - mirror.low) == pytest.approx((found.low, found.high))
    wider = score_intervals.roc_auc(value, positives, negatives, 0.999)
    assert (wider.low, wider.high) <= (found.low, wider.high)


def test_interval_of_a_roc_auc_covers_the_truth() -> None:
    # Scores of normal distributions 1.5 deviations apart: a ROC AUC of 0.8556.
    random, covered = np.random.default_rng(4), 0
    for _ in range(400):
        target = np.repeat([1.0, 0.0], [12, 30])
        value = roc_auc(Ranked(target, random.normal(size=42) + 1.5 * target).counts())
        assert value is not None
        found = score_intervals.roc_auc(value, 12, 30, 0.95)
        covered += found.low <= 0.8556 <= found.high
    assert 0.92 <= covered / 400 <= 0.99


def test_levels_are_shared() -> None:
    assert shared_level(0.95, 1) == pytest.approx(0.95)
    assert shared_level(0.95, 10) == pytest.approx(0.995)
    assert shared_level(0.95, 0) == pytest.approx(0.95)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc_of_a_part_is_that_of_its_rows(ties: bool) -> None:
    from sklearn.metrics import roc_auc_score

    target, probability = sample(300, seed=2, ties=ties)
    ranked, part = Ranked(target, probability), np.arange(300) % 3 == 0
    whole, some = ranked.counts(), ranked.counts(part)
    assert roc_auc(whole) == pytest.approx(roc_auc_score(target, probability))
    assert roc_auc(some) == pytest.approx(roc_auc_score(target[part], probability[part]))
    assert roc_auc(whole - some) == pytest.approx(roc_auc_score(target[~part], probability[~part]))
    assert roc_auc(ranked.counts(target == 1)) is None
