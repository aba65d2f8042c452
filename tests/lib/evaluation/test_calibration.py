import numpy as np
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.evaluation.calibration import outside, slope
from mlops_assets.lib.evaluation.intervals import Interval

Floats = NDArray[np.float64]


def scored(rows: int, true_slope: float, seed: int = 1) -> tuple[Floats, Floats]:
    """Outcomes whose logit is so many times that of the score."""
    random = np.random.default_rng(seed)
    logit = random.normal(scale=1.5, size=rows)
    outcome = random.random(rows) < 1 / (1 + np.exp(-true_slope * logit))
    return outcome.astype(np.float64), 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_slope_is_that_of_the_logits(truth: float) -> None:
    found = slope(*scored(20_000, truth))
    assert found is not None
    assert found.value == pytest.approx(truth, rel=0.05)
    assert found.low < truth < found.high


def test_slope_of_many_rows_is_that_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    target, probability = scored(3000, 0.8)
    logit = np.log(probability / (1 - probability)).reshape(-1, 1)
    fitted = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(logit, target)
    found = slope(target, probability)
    assert found is not None
    assert found.value == pytest.approx(fitted.coef_[0, 0], rel=3e-3)


def test_interval_of_the_slope_covers_the_truth() -> None:
    covered = 0
    for seed in range(300):
        found = slope(*scored(80, 1.0, seed))
        assert found is not None
        covered += found.low <= 1.0 <= found.high
    assert 0.91 <= covered / 300 <= 0.99


def test_scores_that_part_the_classes_have_a_slope_all_the_same() -> None:
    target = np.repeat([0.0, 1.0], 50)
    found = slope(target, np.where(target == 1, 0.9, 0.1))
    assert found is not None
    assert 1 < found.value < 10
    extreme = slope(target, target)
    assert extreme is not None
    assert np.isfinite([extreme.low, extreme.value, extreme.high]).all()


def test_equal_scores_have_no_slope() -> None:
    assert slope(np.array([0.0, 1.0, 1.0]), np.full(3, 0.4)) is None


@pytest.mark.parametrize(
    ("low", "high", "is_outside"),
    [(0.3, 0.49, True), (0.3, 0.5, False), (2.0, 3.0, False), (2.01, 3, True), (0.1, 9, False)],
)
def test_slope_is_outside_with_its_whole_interval(
    low: float, high: float, is_outside: bool
) -> None:
    assert outside(Interval(1.0, low, high), (0.5, 2.0)) == is_outside
    assert not outside(None, (0.5, 2.0))
