"""The contest, and what there is to know about its winner.

Candidates are compared by their out-of-fold scores alone. The test rows are looked at once, for the
winner, through the ONNX model that would serve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.evaluation.metrics import CALIBRATION_BINS, bin_of
from mlops_assets.lib.spec.gate import Decision, FloorMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONTEST_METRIC = "roc_auc"


def winner(scores: Mapping[str, Mapping[str, float]]) -> str:
    """The candidate of highest out-of-fold ROC AUC; the lower log loss breaks a tie.

    Args:
        scores: Metrics by candidate.

    Raises:
        ValueError: If there is no candidate with a score.
    """
    # Nothing compares with NaN: a candidate without a score would win by standing first.
    scored = sorted(name for name in scores if not math.isnan(scores[name][CONTEST_METRIC]))
    if not scored:
        raise ValueError("no candidate takes part in the contest")
    return max(scored, key=lambda name: (scores[name][CONTEST_METRIC], -scores[name]["log_loss"]))


def calibration_curve(target: Floats, probability: Floats) -> list[dict[str, float]]:
    """Mean score and observed share of positives in ten bins of equal width, without empty bins."""
    bins = bin_of(probability)
    return [
        {
            "rows": int((bins == b).sum()),
            "predicted": float(probability[bins == b].mean()),
            "observed": float(target[bins == b].mean()),
        }
        for b in range(CALIBRATION_BINS)
        if (bins == b).any()
    ]


@dataclass(frozen=True)
class CostCurve:
    """What decisions cost, by threshold.

    Attributes:
        thresholds: From 0 to 1.
        costs: Mean cost of a row at each threshold.
        chosen: The threshold in use.
        cost: Mean cost of a row there.
        least_at: The threshold of least cost on these very rows; with few rows it is mostly noise.
        least: Mean cost there.
    """

    thresholds: list[float]
    costs: list[float]
    chosen: float
    cost: float
    least_at: float
    least: float


def cost_curve(target: Floats, probability: Floats, decision: Decision) -> CostCurve:
    """Mean cost of a decision at every hundredth and at the threshold in use.

    Args:
        target: 0 or 1, shape ``[n]``.
        probability: Out-of-fold, shape ``[n]``.
        decision: What errors cost.
    """
    import numpy as np

    thresholds = np.linspace(0, 1, 101)
    false_alarm, miss = decision.cost_false_positive, decision.cost_false_negative

    def mean_cost(threshold: float) -> float:
        called = probability >= threshold
        alarms, misses = (called & (target == 0)).sum(), (~called & (target == 1)).sum()
        return float((false_alarm * alarms + miss * misses) / len(target))

    costs = [mean_cost(threshold) for threshold in thresholds]
    best = int(np.argmin(costs))
    return CostCurve(
        thresholds.tolist(),
        costs,
        decision.threshold,
        mean_cost(decision.threshold),
        float(thresholds[best]),
        costs[best],
    )


def baseline(target: Floats, threshold: float, seed: int) -> dict[str, Interval]:
    """Every metric of a dummy that gives each row the share of positives.

    Args:
        target: 0 or 1, shape ``[n]``.
        threshold: Of the decision.
        seed: Of the intervals.
    """
    import numpy as np

    return with_intervals(target, np.full(len(target), target.mean()), threshold, seed=seed)


def confusion(target: Floats, probability: Floats, threshold: float) -> dict[str, int]:
    """Counts of right and wrong decisions at a threshold."""
    called = probability >= threshold
    return {
        "true_positive": int(((target == 1) & called).sum()),
        "false_positive": int(((target == 0) & called).sum()),
        "false_negative": int(((target == 1) & ~called).sum()),
        "true_negative": int(((target == 0) & ~called).sum()),
    }


def broken_floors(
    floors: Mapping[FloorMetric, float],
    out_of_fold: Mapping[str, Mapping[str, float]],
    test: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """Say which floors a model does not reach.

    Out of fold the lower end of the interval must reach the floor: a value that only happens to lie
    above it is not enough. The test side is small: it breaks the floor only if its whole interval
    lies below.

    Args:
        floors: Least value by metric.
        out_of_fold: ``value``, ``low``, ``high`` by metric.
        test: The same, on the test rows.
    """
    reasons = []
    for name, floor in floors.items():
        if name not in out_of_fold or name not in test:
            reasons.append(f"{name}: no such metric")
            continue
        if not out_of_fold[name]["low"] >= floor:
            least = f"{out_of_fold[name]['low']:.3f}"
            reasons.append(f"{name} out of fold is at least {least}, below {floor}")
        if not test[name]["high"] >= floor:
            most = f"{test[name]['high']:.3f}"
            reasons.append(f"{name} on the test rows is at most {most}, below {floor}")
    return reasons
