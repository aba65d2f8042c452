"""The difference in ROC AUC between challenger and champion, with an honest interval.

Two parts of the rows speak, and they share no row. The test rows are few, and nothing was chosen by
them. The training rows are four times as many, by out-of-fold scores, and flatter the challenger in
two ways, for which its part pays:

- The models of the folds are trained on nearly the same rows, so that their scores err together
  (Dietterich 1998), and the variance of DeLong's method is too small. It is multiplied by
  ``1 + J n2 / n1``, with ``J`` folds that hold out ``n2`` rows and train on ``n1`` (Nadeau and
  Bengio 2003): by 2.25 with five folds. Measured were 1.0 for learners that the rows suffice for,
  and up to 1.9 for others.
- The challenger is the best of some candidates by just these scores. If all were equally good, the
  best would lie above their mean by the expected largest of so many normal values (Blom 1958), in
  standard errors of one score. The lower end of the interval gives that away; the upper end does
  not, so that nobody is called worse for having been chosen.

``docs/decisions/0010-gate-statistics.md`` has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from mlops_assets.lib.comparison.delong import Paired

if TYPE_CHECKING:
    from collections.abc import Sequence

METHOD = "DeLong, test and out-of-fold rows weighted by size"
NORMAL = NormalDist()


@dataclass(frozen=True)
class Difference:
    """ROC AUC of the challenger less that of the champion, with its interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


@dataclass(frozen=True)
class Part:
    """What some of the rows say.

    Attributes:
        rows: How many.
        positives: How many of them are positive.
        paired: Challenger and champion on them.
        inflation: What the variance is multiplied by.
        flattery: By how many standard errors chance is expected to favour the challenger.
    """

    rows: int
    positives: int
    paired: Paired
    inflation: float = 1.0
    flattery: float = 0.0

    @property
    def standard_error(self) -> float:
        return self.paired.standard_error * math.sqrt(self.inflation)

    @property
    def weight(self) -> float:
        """Rows by which the variance of a ROC AUC goes down, less what the inflation takes.

        Not the inverse of the estimated variance: few rows that both models happen to order
        perfectly have none, and would outweigh all others.
        """
        return self.positives * (self.rows - self.positives) / self.rows / self.inflation


def out_of_fold_part(
    rows: int, positives: int, paired: Paired, folds: int, candidates: int
) -> Part:
    """The part of the training rows.

    Args:
        rows: How many.
        positives: How many of them are positive.
        paired: Challenger and champion by out-of-fold scores.
        folds: By how many the challenger was scored.
        candidates: Of how many by these scores it was the best.
    """
    # Of one score: that of a difference is larger by the square root of two.
    flattery = NORMAL.inv_cdf((candidates - 0.375) / (candidates + 0.25)) / math.sqrt(2)
    return Part(rows, positives, paired, 1 + folds / (folds - 1), flattery)


def difference(parts: Sequence[Part], level: float) -> Difference:
    """Take parts that share no row together, weighted by their size.

    Args:
        parts: One or more.
        level: The chance, at either end, that the truth lies beyond it.
    """
    total = sum(part.weight for part in parts)
    shares = [part.weight / total for part in parts]
    estimate = sum(s * p.paired.difference for s, p in zip(shares, parts, strict=True))
    error = math.sqrt(sum((s * p.standard_error) ** 2 for s, p in zip(shares, parts, strict=True)))
    flattery = sum(s * p.flattery * p.standard_error for s, p in zip(shares, parts, strict=True))
    reach = -NORMAL.inv_cdf(level) * error
    return Difference(estimate, max(-1.0, estimate - flattery - reach), min(1.0, estimate + reach))
