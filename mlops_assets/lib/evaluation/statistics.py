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
# Resamples are drawn in chunks of this many weights, of 8 bytes each; computing their metrics needs
# some ten times that: under 200 MB.
CHUNK_CELLS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def metrics(
    target: Floats, probability: Floats, threshold: float, weights: Floats
) -> dict[str, Floats]:
    """Every metric, for every set of row weights.

    Args:
        target: 0 or 1, shape ``[n]``.
        probability: Of the positive class, 0 to 1, shape ``[n]``.
        threshold: A probability at or above it counts as positive.
        weights: Shape ``[b, n]``; each row of it is one resample.

    Returns:
        By metric, shape ``[b]``. ``calibration_error`` is the expected calibration error in ten
        bins of equal width (Naeini, Cooper and Hauskrecht 2015); ``pr_auc`` is average precision.
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
    # As scikit-learn does it: a certain mistake costs much, and not infinity.
    least = np.finfo(np.float64).eps
    clipped = np.clip(probability, least, 1 - least)
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
    gaps = positive @ member - weights @ (member * probability[:, None])
    return np.asarray(np.abs(gaps).sum(axis=1))


def with_intervals(
    target: Floats, probability: Floats, threshold: float, *, seed: int
) -> dict[str, Interval]:
    """Every metric with its percentile bootstrap interval (Efron 1979).

    Whole rows are resampled, so that the share of positives varies as it would in new data: with
    that share held fixed, intervals of accuracy that should cover the truth in 95 % of samples
    covered it in 81 % where sensitivity was 0.3 and specificity 0.98. The few resamples with one
    class only are left out.

    Chance gaps in the bins add to the calibration error, and in a resample they add once more: its
    interval is the reversed one (Davison and Hinkley 1997), widened to hold the value.

    Args:
        target: 0 or 1, shape ``[n]``.
        probability: Of the positive class, shape ``[n]``.
        threshold: A probability at or above it counts as positive.
        seed: Makes the intervals repeatable.

    Raises:
        ValueError: If the rows are all of one class, or a probability is none.
    """
    import numpy as np

    positives = int(target.sum())
    if not 0 < positives < len(target):
        said = f"{len(target)} rows, {positives} of them positive"
        raise ValueError(f"{said}: both classes are needed")
    odd = int((~((probability >= 0) & (probability <= 1))).sum())
    if odd:
        raise ValueError(f"{odd} of {len(target)} probabilities are not between 0 and 1")
    value = metrics(target, probability, threshold, np.ones((1, len(target))))
    random = np.random.default_rng(seed)
    step = max(1, CHUNK_CELLS // len(target))
    drawn: list[dict[str, Floats]] = []
    for first in range(0, RESAMPLES, step):
        weights = _resamples(min(step, RESAMPLES - first), len(target), random)
        share = weights @ target / len(target)
        both = weights[(share > 0) & (share < 1)]
        drawn.append(metrics(target, probability, threshold, both))
    tail = (1 - LEVEL) / 2
    result = {}
    for name in value:
        at = float(value[name][0])
        low, high = np.quantile(np.concatenate([d[name] for d in drawn]), [tail, 1 - tail])
        if name == "calibration_error":
            low, high = min(max(0.0, 2 * at - high), at), max(2 * at - low, at)
        result[name] = Interval(at, float(low), float(high))
    return result


def _resamples(count: int, rows: int, random: np.random.Generator) -> Floats:
    """How often each row is drawn, in ``count`` draws of ``rows`` rows with replacement."""
    import numpy as np

    drawn = random.integers(rows, size=(count, rows)) + np.arange(count)[:, None] * rows
    counted = np.bincount(drawn.ravel(), minlength=count * rows)
    return counted.reshape(count, rows).astype(np.float64)
