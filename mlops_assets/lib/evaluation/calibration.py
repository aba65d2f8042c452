"""Calibration beyond its error: whether scores are as far apart as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.lib.evaluation.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A score of 0 or 1 has no logit; these count as one in a million from it.
LEAST = 1e-6
NORMAL_95 = 1.959964
ITERATIONS = 100
LONGEST_STEP = 5.0
CONVERGED = 1e-9


def slope(target: Floats, probability: Floats) -> Interval | None:
    """The calibration slope: that of a logistic regression of the outcome on the score's logit.

    1 is right. Less than 1: scores are too extreme, as those of an overfitted model; more: too
    timid (Cox 1958; Van Calster et al. 2016 and 2019). Fitted with Firth's penalty (1993), which
    keeps it finite where a score parts the classes without an overlap; the interval is Wald's.

    Args:
        target: 0 or 1, both of them, shape ``[n]``.
        probability: Of the positive class, shape ``[n]``.

    Returns:
        The slope with its 95 % interval; None where all scores are equal, or nearly so, and no
        slope can be told.
    """
    import numpy as np

    clipped = np.clip(probability, LEAST, 1 - LEAST)
    logit = np.log(clipped / (1 - clipped))
    spread = float(logit.std())
    if spread < LEAST:
        return None
    # The penalised fit is the same on any scale; on this one its steps are well behaved.
    design = np.column_stack([np.ones(len(logit)), (logit - logit.mean()) / spread])
    fitted = np.zeros(2)
    for _ in range(ITERATIONS):
        expected = 1 / (1 + np.exp(-(design @ fitted)))
        weight = expected * (1 - expected)
        covariance = np.linalg.inv(design.T @ (design * weight[:, None]))
        leverage = weight * ((design @ covariance) * design).sum(axis=1)
        step = covariance @ (design.T @ (target - expected + leverage * (0.5 - expected)))
        longest = float(np.abs(step).max())
        fitted = fitted + step * min(1.0, LONGEST_STEP / max(longest, LONGEST_STEP))
        if longest < CONVERGED:
            break
    else:
        return None
    value = float(fitted[1]) / spread
    half = NORMAL_95 * float(np.sqrt(covariance[1, 1])) / spread
    return Interval(value, value - half, value + half)


def outside(found: Interval | None, bounds: tuple[float, float]) -> bool:
    """Whether the whole interval of a slope lies outside of what is allowed."""
    low, high = bounds
    return found is not None and (found.high < low or found.low > high)
