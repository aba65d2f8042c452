"""The best ROC AUC that any model can reach on rows whose true probabilities are known.

No score ranks better than the true probability itself (the Neyman-Pearson lemma), so the area under
its own curve is the mark to hold a model against: what is missing to 1 is chance, not a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Probabilities this close rank as ties; no area changes by more than a millionth.
BINS = 1 << 16
# As they are kept in a record: the area changes by less than a thousandth.
KEPT_BINS = 1 << 11


def best_auc(probability: Floats) -> float:
    """The chance that a true probability ranks a random positive above a random negative.

    Over all pairs of two different rows, row ``i`` is the positive and row ``j`` the negative with
    probability ``p_i (1 - p_j)``; ties count half. For many rows that is the expected ROC AUC of
    outcomes drawn from these probabilities.

    Args:
        probability: Of the positive class, shape ``[n]``.

    Raises:
        ValueError: If no pair of rows can have both classes.
    """
    import numpy as np

    _, place = np.unique(probability, return_inverse=True)
    own = float((probability * (1 - probability)).sum())
    positive, negative = np.bincount(place, probability), np.bincount(place, 1 - probability)
    return _area(positive.astype(np.float64), negative.astype(np.float64), own)


class BestAuc:
    """The same for rows that come in chunks, in the memory of a histogram."""

    def __init__(self) -> None:
        import numpy as np

        self.positive, self.negative, self.own = np.zeros(BINS), np.zeros(BINS), 0.0

    def add(self, probability: Floats) -> None:
        """Count further rows.

        Args:
            probability: Of the positive class, shape ``[n]``.
        """
        import numpy as np

        place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        self.positive += np.bincount(place, probability, BINS)
        self.negative += np.bincount(place, 1 - probability, BINS)
        self.own += float((probability * (1 - probability)).sum())

    def as_dict(self) -> dict[str, Any]:
        """The histogram, coarser, as JSON-compatible values."""

        def kept(counts: Floats) -> list[float]:
            return [round(float(count), 3) for count in counts.reshape(KEPT_BINS, -1).sum(axis=1)]

        return {"positive": kept(self.positive), "negative": kept(self.negative), "own": self.own}

    @classmethod
    def of(cls, kept: Iterable[Mapping[str, Any]]) -> Self:
        """The rows of several histograms that were kept, as those of one."""
        import numpy as np

        made = cls()
        made.positive, made.negative = np.zeros(KEPT_BINS), np.zeros(KEPT_BINS)
        for each in kept:
            made.positive += np.array(each["positive"])
            made.negative += np.array(each["negative"])
            made.own += each["own"]
        return made

    def value(self) -> float:
        """See ``best_auc``."""
        return _area(self.positive, self.negative, self.own)


def _area(positive: Floats, negative: Floats, own: float) -> float:
    """Expected ROC AUC from the expected positives and negatives of each score, lowest first.

    Args:
        positive: Expected positives by score.
        negative: Expected negatives by score.
        own: What pairs of a row with itself would count, which are none.
    """
    below = negative.cumsum() - negative
    pairs = float(positive.sum() * negative.sum()) - own
    if pairs <= 0:
        raise ValueError("the best ROC AUC needs two rows that can be of both classes")
    return (float((positive * (below + negative / 2)).sum()) - own / 2) / pairs
