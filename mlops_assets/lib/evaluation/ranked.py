"""The ROC AUC of many parts of the same rows: the scores are sorted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]


class Ranked:
    """Outcomes in the order of a score. Equal scores are one rank; NaN is the highest."""

    def __init__(self, target: NDArray[np.float64], score: NDArray[Any]) -> None:
        """Sort the rows.

        Args:
            target: 0 or 1, shape ``[n]``.
            score: Shape ``[n]``.
        """
        import numpy as np

        scores, self._rank = np.unique(score, return_inverse=True)
        self._ranks = len(scores)
        self._positive = target == 1

    def counts(self, rows: NDArray[np.bool_] | slice = slice(None)) -> Counts:
        """How many negative and positive rows have each rank, shape ``[2, ranks]``."""
        import numpy as np

        place = self._rank[rows] + self._positive[rows] * self._ranks
        return np.bincount(place, minlength=2 * self._ranks).reshape(2, -1)


def roc_auc(counts: Counts) -> float | None:
    """The share of pairs that are in order, a tie being half of one; None if a class is absent."""
    import numpy as np

    negative, positive = counts
    # As floats: the pairs of a hundred million rows are more than 64 bits count.
    pairs = float(negative.sum()) * float(positive.sum())
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / pairs if pairs else None
