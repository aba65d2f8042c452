"""The estimate without labels: right where scores are calibrated, with an interval that holds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.evaluation.metrics import metrics
from mlops_assets.lib.performance.estimate import estimate, expected
from mlops_assets.lib.performance.floors import floor
from mlops_assets.lib.spec.alerts import ShareLevels


def scores(rows: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).beta(0.6, 1.8, size=rows)


def test_the_expected_matrix_is_that_of_the_scores() -> None:
    found = expected(np.array([0.9, 0.8, 0.3, 0.2]), 0.5)
    # Positives that are expected: 1.7 of the two that are called, 0.5 of the two that are not.
    assert found["accuracy"] == pytest.approx((1.7 + 1.5) / 4)
    assert found["precision"] == pytest.approx(1.7 / 2)
    assert found["recall"] == pytest.approx(1.7 / 2.2)
    assert found["f1"] == pytest.approx(2 * 1.7 / (2.2 + 2))
    assert found["brier_score"] == pytest.approx((0.09 + 0.16 + 0.21 + 0.16) / 4)
    assert "calibration_error" not in found


def test_outcomes_of_calibrated_scores_lie_in_the_interval() -> None:
    held = dict.fromkeys(("accuracy", "recall", "precision", "f1", "roc_auc", "pr_auc"), 0)
    for seed in range(20):
        rows = 20_000 if seed % 5 == 0 else 400
        score = scores(rows, seed)
        truth = (np.random.default_rng([seed, 1]).random(rows) < score).astype(float)
        real = metrics(truth, score, 0.4, np.ones((1, rows)))
        found = estimate(score, 0.4, seed=7)
        for name in held:
            held[name] += found[name].low <= real[name][0] <= found[name].high
    # 19 of 20 are expected.
    assert min(held.values()) >= 17, held


def test_the_estimate_cannot_see_that_the_outcomes_have_changed() -> None:
    score = scores(5_000, 3)
    random = np.random.default_rng(4).random(5_000)
    found = estimate(score, 0.4, seed=7)
    moved = metrics((random < 1 - score).astype(float), score, 0.4, np.ones((1, 5_000)))
    assert moved["accuracy"][0] < found["accuracy"].low - 0.2


def test_scores_without_a_doubt_have_no_estimate() -> None:
    assert estimate(np.zeros(200), 0.5, seed=1) == {}
    assert estimate(np.array([0.3]), 0.5, seed=1) == {}
    assert "recall" not in expected(np.zeros(5), 0.5)


@pytest.mark.parametrize(
    ("low", "value", "high", "passed", "critical"),
    [
        (0.70, 0.74, 0.78, True, False),
        (0.71, 0.73, 0.749, False, False),
        (0.60, 0.65, 0.699, False, True),
        (0.60, 0.65, 0.701, False, False),
    ],
)
def test_a_level_is_missed_where_the_whole_interval_lies_below_it(
    low: float, value: float, high: float, passed: bool, critical: bool
) -> None:
    score = {"accuracy": {"value": value, "low": low, "high": high}}
    champion = {"version": "3", "role": "champion", "rows": 9, "labelled": 5, "said": []}
    levels = ShareLevels(warning=0.75, critical=0.70)
    found = floor([{**champion, "measured": None, "estimated": score}], levels)
    assert (found.passed, found.critical) == (passed, critical)
    assert "accuracy estimated 0." in found.said
    # What is measured counts, where there is both.
    good = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    found = floor([{**champion, "measured": good, "estimated": score}], levels)
    assert found.passed
    assert "accuracy measured 0.900" in found.said
