"""Two ROC AUCs of the same rows, and how sure their difference is (DeLong's method).

DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves", 1988; computed from midranks as Sun and Xu, "Fast implementation
of DeLong's algorithm", 2014, do: n log n in place of a comparison of every positive with every
negative row. It was taken before a paired bootstrap since it is exact in what it computes, needs no
seed, and stays cheap for millions of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A variance needs two.
LEAST_OF_A_CLASS = 2


class TooFewError(ValueError):
    """A class has too few rows for a comparison; the message says how many there are."""


@dataclass(frozen=True)
class Placements:
    """Where the scores of each class stand among those of the other.

    Attributes:
        positive: Of each positive row: the share of negative rows below it, ties counting half.
        negative: Of each negative row: the share of positive rows above it, ties counting half.
    """

    positive: Floats
    negative: Floats

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        return float(self.positive.mean())


@dataclass(frozen=True)
class Paired:
    """Two ROC AUCs of the same rows.

    Attributes:
        one: Of the first scores.
        other: Of the second scores.
        standard_error: Of ``one - other``, the scores being given; 0 if they rank alike.
    """

    one: float
    other: float
    standard_error: float

    @property
    def difference(self) -> float:
        return self.one - self.other


def placements(target: Floats, score: Floats) -> Placements:
    """Place every score among those of the other class.

    Args:
        target: 0 or 1, shape ``[n]``.
        score: The higher, the likelier 1; shape ``[n]``.

    Raises:
        TooFewError: If a class has fewer than two rows.
        ValueError: If a score is NaN.
    """
    import numpy as np

    is_positive = target == 1
    positives = int(is_positive.sum())
    negatives = len(target) - positives
    if min(positives, negatives) < LEAST_OF_A_CLASS:
        raise TooFewError(
            f"{len(target)} rows, {positives} of them positive: "
            f"at least {LEAST_OF_A_CLASS} of each class are needed"
        )
    if absent := int(np.isnan(score).sum()):
        raise ValueError(f"{absent} of {len(score)} rows have no score")
    rank = _midranks(score)
    above = rank[is_positive] - _midranks(score[is_positive])
    below = rank[~is_positive] - _midranks(score[~is_positive])
    return Placements(above / negatives, 1 - below / positives)


def compare(one: Placements, other: Placements) -> Paired:
    """Compare two scores of the same rows, in the same order.

    The variance of a difference is that of the differences of the placements: taken row by row, and
    not from two variances and a covariance, it is exactly 0 where the scores rank alike.
    """
    variance = sum(
        float((mine - theirs).var(ddof=1)) / len(mine)
        for mine, theirs in (
            (one.positive, other.positive),
            (one.negative, other.negative),
        )
    )
    return Paired(one.auc, other.auc, math.sqrt(variance))


def delong(target: Floats, one: Floats, other: Floats) -> Paired:
    """Compare two scores of the same rows.

    Args:
        target: 0 or 1, shape ``[n]``.
        one: The first scores, shape ``[n]``.
        other: The second scores, shape ``[n]``.

    Raises:
        TooFewError: If a class has fewer than two rows.
        ValueError: If a score is NaN.
    """
    return compare(placements(target, one), placements(target, other))


def _midranks(values: Floats) -> Floats:
    """The rank of each value from 1, the mean of their ranks for equal ones."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    sizes = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks
