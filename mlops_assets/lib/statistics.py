"""Metrics of a binary classifier, each with a bootstrap interval.

All metrics are computed from a matrix of row weights, so that a thousand resamples cost a few
matrix products in place of a thousand passes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
CALIBRATION_BINS = 10
# Weights of 8 bytes each: chunks of resamples stay under 256 MiB.
CHUNK_CELLS = 32_000_000


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def metrics(target: Floats, probability: Floats, threshold: float, weights: Floats) -> dict[str, Floats]:
    """Every metric, for every set of row weights.

    Args:
        target: 0 or 1, shape ``[n]``.
        probability: Of the positive class, 0 to 1, shape ``[n]``.
        threshold: A probability at or above it counts as positive.
        weights: Shape ``[b, n]``; each row of it is one resample.

    Returns:
        By metric, shape ``[b]``. ``calibration_error`` is the expected calibration error in ten bins
        of equal width (Naeini, Cooper and Hauskrecht 2015); ``pr_auc`` is average precision.
    """
    import numpy as np

    positive = weights * target
    negative = weights - positive
    total, total_positive, total_negative = (m.sum(axis=1) for m in (weights, positive, negative))
    called = probability >= threshold
    true_positive, false_positive = positive[:, called].sum(axis=1), negative[:, called].sum(axis=1)
    true_negative = total_negative - false_positive
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, specificity = true_positive / total_positive, true_negative / total_negative
        precision = np.where(
            true_positive + false_positive > 0,
            true_positive / (true_positive + false_positive),
            0.0,
        )
        roc_auc, pr_auc = _areas(probability, positive, negative)
        f1 = 2 * true_positive / (total_positive + true_positive + false_positive)
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    loss = -(target * np.log(clipped) + (1 - target) * np.log(1 - clipped))
    return {
        "roc_auc": roc_auc,
        "pr_auc": pr_auc,
        "accuracy": (true_positive + true_negative) / total,
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": weights @ loss / total,
        "brier_score": weights @ (probability - target) ** 2 / total,
        "calibration_error": _calibration_error(probability, positive, weights) / total,
    }


def _areas(probability: Floats, positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Areas under the ROC curve (ties count half) and under precision against recall."""
    import numpy as np

    order = np.argsort(-probability, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    hits = np.cumsum(positive[:, order], axis=1)[:, ends]
    alarms = np.cumsum(negative[:, order], axis=1)[:, ends]
    start = np.zeros((len(hits), 1))
    new_hits = np.diff(hits, axis=1, prepend=start)
    new_alarms = np.diff(alarms, axis=1, prepend=start)
    area = ((hits - new_hits / 2) * new_alarms).sum(axis=1) / (hits[:, -1] * alarms[:, -1])
    precision = np.where(hits + alarms > 0, hits / np.maximum(hits + alarms, 1e-300), 0.0)
    return area, (precision * new_hits).sum(axis=1) / hits[:, -1]


def _calibration_error(probability: Floats, positive: Floats, weights: Floats) -> Floats:
    import numpy as np

    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    member = np.eye(CALIBRATION_BINS)[bins]
    return np.asarray(np.abs(positive @ member - weights @ (member * probability[:, None])).sum(axis=1))


def with_intervals(
    target: Floats, probability: Floats, threshold: float, *, seed: int
) -> dict[str, Interval]:
    """Every metric with its stratified percentile bootstrap interval (Efron 1979).

    Resampling is done within each class, so that every resample has both.

    Args:
        target: 0 or 1, shape ``[n]``.
        probability: Of the positive class, shape ``[n]``.
        threshold: A probability at or above it counts as positive.
        seed: Makes the intervals repeatable.

    Raises:
        ValueError: If the rows are all of one class.
    """
    import numpy as np

    positives = int(target.sum())
    if not 0 < positives < len(target):
        raise ValueError(f"{len(target)} rows, {positives} of them positive: both classes are needed")
    value = metrics(target, probability, threshold, np.ones((1, len(target))))
    random = np.random.default_rng(seed)
    step = max(1, CHUNK_CELLS // len(target))
    drawn: list[dict[str, Floats]] = []
    for first in range(0, RESAMPLES, step):
        weights = np.empty((min(step, RESAMPLES - first), len(target)))
        for side in (0, 1):
            rows = np.flatnonzero(target == side)
            even = np.full(len(rows), 1 / len(rows))
            weights[:, rows] = random.multinomial(len(rows), even, size=len(weights))
        drawn.append(metrics(target, probability, threshold, weights))
    tail = (1 - LEVEL) / 2
    result = {}
    for name in value:
        low, high = np.quantile(np.concatenate([d[name] for d in drawn]), [tail, 1 - tail])
        result[name] = Interval(float(value[name][0]), float(low), float(high))
    return result
