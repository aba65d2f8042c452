"""Differences between two versions, each with a lower and an upper bound.

The bounds hold at a one-sided level each, so that "surely above the limit" has a chance of being
wrong that is known.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

from mlops_assets.lib.rollout_analysis.sample import Histogram

QUANTILE = 0.95


class Bounded(NamedTuple):
    """A value between its bounds."""

    value: float
    low: float
    high: float


def share(count: int, rows: int, level: float) -> Bounded:
    """A share with its bounds (Wilson 1927); from 0 to 1 where there are no rows."""
    if not rows:
        return Bounded(0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf(1 - level)
    value = count / rows
    middle = (value + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(value * (1 - value) / rows + (z / (2 * rows)) ** 2) / (1 + z * z / rows)
    return Bounded(value, max(0.0, middle - half), min(1.0, middle + half))


def difference(ours: Bounded, theirs: Bounded) -> Bounded:
    """How much larger our share is (Newcombe 1998, from the bounds of both)."""
    value = ours.value - theirs.value
    down = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    up = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Bounded(value, max(-1.0, value - down), min(1.0, value + up))


def percentile(seconds: Histogram, level: float) -> Bounded:
    """The 95th percentile of a histogram that is not empty.

    The bounds are those of its rank, and the ends of the buckets where that lies: nothing is
    assumed about what is within a bucket. The value is interpolated, as Prometheus does.
    """
    rows, z = seconds.total, NormalDist().inv_cdf(1 - level)
    middle, spread = QUANTILE * rows, math.sqrt(rows * QUANTILE * (1 - QUANTILE))
    bucket, low, high = _bucket(seconds, middle)
    below = sum(seconds.counts[:bucket])
    within = (middle - below) / max(seconds.counts[bucket], 1)
    value = low if math.isinf(high) else low + (high - low) * within
    lowest, highest = math.floor(middle - z * spread), math.ceil(middle + z * spread) + 1
    return Bounded(
        value,
        _bucket(seconds, lowest)[1] if lowest >= 1 else 0.0,
        _bucket(seconds, highest)[2] if highest <= rows else math.inf,
    )


def ratio(ours: Bounded, theirs: Bounded, floor: float) -> Bounded:
    """Our time as a multiple of theirs, both taken for at least the floor."""

    def divided(upper: float, lower: float) -> float:
        return max(upper, floor) / max(lower, floor)

    return Bounded(
        divided(ours.value, theirs.value),
        0.0 if math.isinf(theirs.high) else divided(ours.low, theirs.high),
        divided(ours.high, theirs.low),
    )


def score_shift(ours: Histogram, theirs: Histogram, level: float) -> Bounded:
    """The largest distance of the distribution functions of scores; neither side is empty.

    It is the statistic of Kolmogorov and Smirnov at the ends of the buckets. Each function is
    nowhere farther from the truth than the band of Dvoretzky, Kiefer, Wolfowitz and Massart (1990).
    """
    value = at_ours = at_theirs = 0.0
    for our, their in zip(ours.counts, theirs.counts, strict=True):
        at_ours += our / ours.total
        at_theirs += their / theirs.total
        value = max(value, abs(at_ours - at_theirs))
    # Either band may be left, on either side of it.
    band = sum(math.sqrt(math.log(4 / level) / (2 * side.total)) for side in (ours, theirs))
    return Bounded(value, max(0.0, value - band), min(1.0, value + band))


def _bucket(seconds: Histogram, rank: float) -> tuple[int, float, float]:
    """The bucket of a rank, counted from 1, and its ends."""
    reached = 0
    for number, count in enumerate(seconds.counts):
        reached += count
        if reached >= rank and count:
            return number, seconds.bounds[number - 1] if number else 0.0, seconds.bounds[number]
    raise ValueError(f"rank {rank} of {reached} values")
