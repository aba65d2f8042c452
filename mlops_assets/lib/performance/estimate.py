"""How good answers are of which nobody knows the outcome: confidence-based performance estimation.

Where scores are calibrated, of a hundred answers with a score of 0.9 some ninety are positive. So
the outcome of each answer is a draw with a known probability, the confusion matrix is a sum of such
draws, and so is everything that is made of it (Kivimäki, Białek, Kuberski and Nurminen 2025,
"Performance Estimation in Binary Classification Using Calibrated Confidence"; first put to use and
described by NannyML's documentation as CBPE). Accuracy alone is the average confidence, unbiased
under calibration (Kivimäki, Białek, Nurminen and Kuberski 2025).

It follows other inputs than those of the training, as long as the scores stay calibrated on them.
It cannot see that the world answers otherwise than the model has learned (concept drift): it asks
the model how sure it is, and the model is as sure as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.lib.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    like_scores,
    resampled,
    shifted,
)
from mlops_assets.lib.evaluation.metrics import metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# By definition none: it is what the estimate takes for granted.
GRANTED = "calibration_error"


def expected(probability: Floats, threshold: float) -> dict[str, float]:
    """Every metric with the expected confusion matrix in the place of the counted one.

    Each row counts as a positive one by its score, and as a negative one by the rest.

    Args:
        probability: Of the positive class, calibrated, shape ``[n]``, at least one.
        threshold: A probability at or above it counts as positive.

    Returns:
        By metric; without those that are not defined, as recall is where no positive is expected.
    """
    return _finite(_weighed(probability, probability, 1 - probability, threshold))


def estimate(probability: Floats, threshold: float, *, seed: int) -> dict[str, Interval]:
    """Every metric that the answers can be expected to have, with an interval of 95 %.

    The interval is that of the outcomes: a thousand times every answer's outcome is drawn, by group
    of like scores, and what varies are the metrics. It takes the calibration for granted, and holds
    what will be measured once all labels have come, in 95 of 100 days if that is right.

    Args:
        probability: Of the positive class, calibrated, shape ``[n]``, at least one.
        threshold: A probability at or above it counts as positive.
        seed: Makes the interval repeatable.

    Returns:
        By metric; empty where in most draws all outcomes are one class.
    """
    import numpy as np

    _, _, sizes, means = like_scores(probability, threshold)
    random = np.random.default_rng(seed)
    outcome = np.repeat([1.0, 0.0], len(means))

    def draw(count: int) -> Floats:
        positive = random.binomial(sizes, means, size=(count, len(means))).astype(np.float64)
        return np.concatenate([positive, sizes - positive], axis=1)

    drawn = resampled(outcome, np.tile(means, 2), threshold, draw)
    if len(drawn[GRANTED]) < RESAMPLES / 2:
        return {}
    whole = _weighed(probability, probability, 1 - probability, threshold)
    drawn = shifted(drawn, whole, _weighed(means, sizes * means, sizes * (1 - means), threshold))
    tail = (1 - LEVEL) / 2
    found = {}
    for name, value in _finite(whole).items():
        low, high = np.quantile(drawn[name], [tail, 1 - tail])
        found[name] = Interval(value, min(float(low), value), max(float(high), value))
    return found


def _weighed(
    score: Floats, positive: Floats, negative: Floats, threshold: float
) -> dict[str, Floats]:
    import numpy as np

    outcome = np.repeat([1.0, 0.0], len(score))
    return metrics(
        outcome, np.tile(score, 2), threshold, np.concatenate([positive, negative])[None]
    )


def _finite(values: dict[str, Floats]) -> dict[str, float]:
    import numpy as np

    return {
        name: float(value[0])
        for name, value in values.items()
        if name != GRANTED and np.isfinite(value[0])
    }
