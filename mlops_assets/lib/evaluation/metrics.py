"""Metrics of a binary classifier, for many sets of row weights at once.

All are computed from a matrix of weights, so that a thousand resamples cost a few matrix products
in place of a thousand passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


CALIBRATION_BINS = 10
# Their membership in the bins takes 80 bytes a row.
BLOCK_ROWS = 100_000


def bin_of(probability: Floats) -> NDArray[np.int64]:
    """Number of the bin of equal width that each score lies in."""
    import numpy as np

    return np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


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

    bins = bin_of(probability)
    gaps = np.zeros((len(weights), CALIBRATION_BINS))
    for first in range(0, len(bins), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        member = np.eye(CALIBRATION_BINS)[bins[block]]
        gaps += positive[:, block] @ member
        gaps -= weights[:, block] @ (member * probability[block, None])
    return np.asarray(np.abs(gaps).sum(axis=1))
