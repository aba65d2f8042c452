"""Intervals that hold for few rows and for many looks: of a share, of a ROC AUC, of a difference.

They are solved for and not drawn: at the level that twenty slices need, a bootstrap of small groups
has no tail left to read. All follow from counts, however many rows there are.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

from mlops_assets.lib.evaluation.intervals import Interval

HALVINGS = 60


def shared_level(level: float, looks: int) -> float:
    """The level of each of several intervals, so that all hold at once (Bonferroni; Dunn 1961)."""
    return 1 - (1 - level) / max(looks, 1)


def share(hits: int, rows: int, level: float) -> Interval:
    """A share with its score interval (Wilson 1927).

    Args:
        hits: Rows that count.
        rows: All of them, at least one.
        level: How often the interval holds the truth.
    """
    z, value = _deviations(level), hits / rows
    middle = (value + z * z / (2 * rows)) / (1 + z * z / rows)
    spread = value * (1 - value) / rows + (z / (2 * rows)) ** 2
    half = z * math.sqrt(spread) / (1 + z * z / rows)
    return Interval(value, max(middle - half, 0.0), min(middle + half, 1.0))


def roc_auc(value: float, positives: int, negatives: int, level: float) -> Interval:
    """A ROC AUC with its score interval (Newcombe 2006, method 5).

    The truths that the value does not contradict, by the variance that each of them would have
    (Hanley and McNeil 1982): unlike one around the value, it has a width where the value is 1.

    Args:
        value: The ROC AUC.
        positives: Rows of the positive class, at least one.
        negatives: Rows of the other class, at least one.
        level: How often the interval holds the truth.
    """
    z = _deviations(level)
    pairs, more = positives * negatives, (positives + negatives) / 2 - 1

    def contradicted(truth: float) -> bool:
        tied = (1 - truth) / (2 - truth) + truth / (1 + truth)
        variance = truth * (1 - truth) * (1 + more * tied) / pairs
        return (value - truth) ** 2 > z * z * variance

    return Interval(value, _edge(contradicted, 0.0, value), _edge(contradicted, 1.0, value))


def difference(one: Interval, other: Interval) -> Interval:
    """One less the other, of rows that are not the same ones, at the level of their intervals.

    From the ends of both, which need not lie evenly around the value: for shares this is method 10
    of Newcombe 1998, for anything else "MOVER" of Zou and Donner 2008.
    """
    value = one.value - other.value
    down = math.hypot(one.value - one.low, other.high - other.value)
    up = math.hypot(one.high - one.value, other.value - other.low)
    return Interval(value, value - down, value + up)


def _deviations(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _edge(contradicted: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where what is contradicted begins, on the way from the value to the end of the scale."""
    if not contradicted(outside):
        return outside
    for _ in range(HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if contradicted(middle) else (outside, middle)
    return outside
