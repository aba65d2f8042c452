"""scikit-learn's gradient boosting, mended for columns that are empty in the rows of a fit.

It gives up with an error where a column has no value at all, which a rarely recorded one may have
in a fold. A constant in its place is never split on, so that what stands there later cannot matter.
"""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier


class GradientBoosting(HistGradientBoostingClassifier):  # type: ignore[misc]
    """Takes columns without any value."""

    def fit(self, X: Any, y: Any, *arguments: Any, **options: Any) -> Self:  # noqa: N803
        """Fit as the parent does.

        Args:
            X: float32 ``[n, f]``, NaN for a missing value.
            y: 0 or 1, shape ``[n]``.
            arguments: Of the parent.
            options: Of the parent.
        """
        empty = np.isnan(X).all(axis=0)
        filled = np.where(empty, np.zeros((), X.dtype), X) if empty.any() else X
        super().fit(filled, y, *arguments, **options)
        return self


def as_plain(estimator: BaseEstimator) -> None:
    """Prepare every boosted model within a copy of an estimator for the converter, in place.

    The converter knows the parent's class only. And it rounds each threshold to the nearest
    float32, which lies above the true one half of the time: a value right between would change
    sides. Rounded down, all float32 values stay where they were.

    Args:
        estimator: Fitted; a copy that nobody else uses.
    """
    if isinstance(estimator, CalibratedClassifierCV):
        for member in estimator.calibrated_classifiers_:
            as_plain(member.estimator)
    elif isinstance(estimator, StackingClassifier):
        for member in estimator.estimators_:
            as_plain(member)
    elif isinstance(estimator, GradientBoosting):
        estimator.__class__ = HistGradientBoostingClassifier
        for trees in estimator._predictors:
            for tree in trees:
                exact = tree.nodes["num_threshold"]
                near = exact.astype(np.float32)
                below = np.nextafter(near, np.float32(-np.inf))
                tree.nodes["num_threshold"] = np.where(near > exact, below, near)
