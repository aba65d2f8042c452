"""How well one column alone tells the outcome: near perfectly, and it was known only afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from mlops_assets.authoring.columns import Look

# ROC AUC of a column alone: from the first on it is left out, from the second on it is pointed at.
LEAK = 0.99
SUSPICIOUS = 0.95
LEAST_ROWS = 100
LEAST_OF_A_CLASS = 20
FOLDS = 5
BINS = 50
# Rows of the average that each group's own share is mixed with.
PRIOR_ROWS = 10.0
SEED = 7


def is_enough(target: NDArray[Any]) -> bool:
    """Whether a sample says anything about leaks.

    Args:
        target: 0 or 1 by row.
    """
    positives = int(target.sum())
    rarer = min(positives, len(target) - positives)
    return len(target) >= LEAST_ROWS and rarer >= LEAST_OF_A_CLASS


def auc_alone(column: Look, target: NDArray[Any]) -> float:
    """ROC AUC of a column alone, on rows that its scores were not made from.

    The score of a row is the share of positives among the rows of other folds with a like value:
    the same category, the same of 50 ranges of a number, or no value, either.

    Args:
        column: Of the sample.
        target: 0 or 1 by row.

    Returns:
        0.5 for a column that says nothing, 1.0 for one that says everything.
    """
    import numpy as np

    groups = _groups(column)
    folds = np.random.default_rng(SEED).permutation(len(target)) % FOLDS
    scores = np.empty(len(target))
    for fold in range(FOLDS):
        seen, unseen = folds != fold, folds == fold
        count = np.bincount(groups[seen], minlength=groups.max() + 1)
        positives = np.bincount(groups[seen], weights=target[seen], minlength=groups.max() + 1)
        share = (positives + PRIOR_ROWS * target[seen].mean()) / (count + PRIOR_ROWS)
        scores[unseen] = share[groups[unseen]]
    # Less than a coin's score is chance, too.
    return max(_auc(scores, target), 0.5)


def _groups(column: Look) -> NDArray[Any]:
    """A group of like values for each row, from 0; nothing recorded is a group, too."""
    import numpy as np
    import polars as pl

    if column.numbers is not None and column.kind != "category":
        numbers = column.numbers.to_numpy().astype(np.float64)
        known = ~np.isnan(numbers)
        edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.where(known, np.searchsorted(edges, numbers, side="right") + 1, 0)
    codes: pl.Series = column.texts.rank("dense").fill_null(0)
    return codes.cast(pl.Int64).to_numpy()


def _auc(scores: NDArray[Any], target: NDArray[Any]) -> float:
    import polars as pl

    ranks = pl.Series(scores).rank("average").to_numpy()
    positives = float(target.sum())
    above = ranks[target == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(target) - positives)))
