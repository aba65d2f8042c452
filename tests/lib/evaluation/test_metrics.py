import numpy as np
import pytest
from sklearn import metrics as sk

from mlops_assets.lib.evaluation.metrics import CALIBRATION_BINS, metrics
from tests.lib.evaluation.samples import NAMES, Floats, sample


def calibration_error(target: Floats, probability: Floats, weights: Floats) -> float:
    """The expected calibration error, bin by bin."""
    total = 0.0
    for b in range(CALIBRATION_BINS):
        last = b == CALIBRATION_BINS - 1
        inside = [
            i
            for i, p in enumerate(probability)
            if int(p * CALIBRATION_BINS) == b or (last and p == 1.0)
        ]
        weight = sum(weights[i] for i in inside)
        if weight:
            confidence = sum(weights[i] * probability[i] for i in inside) / weight
            observed = sum(weights[i] * target[i] for i in inside) / weight
            total += weight / weights.sum() * abs(confidence - observed)
    return total


def expected(target: Floats, probability: Floats, threshold: float, w: Floats) -> dict[str, float]:
    """Every metric by scikit-learn."""
    called = (probability >= threshold).astype(int)
    return {
        "roc_auc": sk.roc_auc_score(target, probability, sample_weight=w),
        "pr_auc": sk.average_precision_score(target, probability, sample_weight=w),
        "accuracy": sk.accuracy_score(target, called, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(target, called, sample_weight=w),
        "precision": sk.precision_score(target, called, sample_weight=w, zero_division=0),
        "recall": sk.recall_score(target, called, sample_weight=w),
        "f1": sk.f1_score(target, called, sample_weight=w),
        "log_loss": sk.log_loss(target, probability, sample_weight=w),
        "brier_score": sk.brier_score_loss(target, probability, sample_weight=w),
        "calibration_error": calibration_error(target, probability, w),
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "threshold"), [(2, 0.5), (7, 0.3), (60, 0.5), (500, 0.8)])
def test_every_metric_is_scikit_learns(rows: int, threshold: float, ties: bool) -> None:
    target, probability = sample(rows, seed=rows, ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, (5, rows)).astype(np.float64)
    weights[0], weights[:, :2] = 1, 1
    found = metrics(target, probability, threshold, weights)
    assert list(found) == NAMES
    for row, w in enumerate(weights):
        for name, value in expected(target, probability, threshold, w).items():
            assert found[name][row] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("constant", [0.0, 0.3, 1.0])
def test_one_probability_for_all_is_chance(constant: float) -> None:
    target, _ = sample(50, seed=3)
    found = metrics(target, np.full(50, constant), 0.5, np.ones((1, 50)))
    assert found["roc_auc"] == 0.5
    assert found["pr_auc"] == pytest.approx(target.mean())
    assert found["calibration_error"] == pytest.approx(abs(target.mean() - constant))


def test_perfect_and_reversed_scores_are_the_extremes() -> None:
    target = np.array([0.0, 0.0, 1.0, 1.0])
    right = metrics(target, target, 0.5, np.ones((1, 4)))
    wrong = metrics(target, 1 - target, 0.5, np.ones((1, 4)))
    for name in ("roc_auc", "pr_auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1"):
        assert right[name] == 1.0, name
    for name in ("roc_auc", "accuracy", "balanced_accuracy", "precision", "recall", "f1"):
        assert wrong[name] == 0.0, name
    for name in ("brier_score", "calibration_error"):
        assert (float(right[name][0]), float(wrong[name][0])) == (0.0, 1.0), name
    # A certain mistake costs much, and not infinity.
    assert right["log_loss"] == pytest.approx(0, abs=1e-9)
    assert 30 < wrong["log_loss"] < 40


def test_probability_at_the_threshold_is_called_positive() -> None:
    target = np.array([0.0, 1.0])
    assert metrics(target, np.array([0.2, 0.5]), 0.5, np.ones((1, 2)))["recall"] == 1.0


def test_nothing_called_positive_has_no_precision() -> None:
    target = np.array([0.0, 1.0])
    found = metrics(target, np.array([0.1, 0.2]), 0.5, np.ones((1, 2)))
    for name in ("precision", "recall", "f1"):
        assert found[name] == 0.0, name
