"""Training one candidate: search, calibration and an out-of-fold score, all nested.

The score that decides the contest comes from rows that neither the search, nor the calibration, nor
the fit of the model that scored them has seen (Cawley and Talbot 2010, on selection bias).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.algorithms import build, is_calibrated
from mlops_assets.lib.search import folds, search, setting
from mlops_assets.lib.training_plan import STACK, Algorithm, Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    Floats = NDArray[np.float64]
    Features = NDArray[np.float32]


@dataclass(frozen=True)
class Chosen:
    """What the searches of a candidate chose.

    Attributes:
        parameters: With every training row.
        by_fold: Without the rows of each outer fold.
    """

    parameters: dict[str, Any]
    by_fold: list[dict[str, Any]]


@dataclass
class Trained:
    """A trained candidate.

    Attributes:
        estimator: Calibrated pipeline, fitted on every training row.
        chosen: Its parameters.
        out_of_fold: Probability of each training row from a model that never saw it.
        trials: Parameters and inner log loss of each trial of the last search.
        complaints: Convergence warnings, by the fit they came from.
    """

    estimator: BaseEstimator
    chosen: Chosen
    out_of_fold: Floats
    trials: list[dict[str, Any]]
    complaints: list[str] = field(default_factory=list)


def train(
    algorithm: Algorithm,
    features: Features,
    target: Floats,
    plan: Training,
    members: Mapping[Algorithm, Chosen] | None = None,
) -> Trained:
    """Search, calibrate and fit one candidate, with an honest score of every training row.

    Args:
        algorithm: Which.
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        plan: Search space, folds, trials and seed.
        members: What the stacked ensemble is made of, and nothing else needs. It searches nothing
            itself: in each fold it takes what its members chose there, without that fold's rows.
    """
    import numpy as np
    import sklearn.ensemble  # noqa: F401 (OpenMP can be limited once it is loaded)
    from threadpoolctl import threadpool_limits

    complaints: list[str] = []
    out_of_fold = np.full(len(target), np.nan)
    by_fold: list[dict[str, Any]] = []

    def choose(stream: int, rows: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if algorithm != STACK:
            return search(algorithm, features[rows], target[rows], plan, stream)
        return {
            name: chosen.by_fold[stream - 1] if stream else chosen.parameters
            for name, chosen in (members or {}).items()
        }, []

    with threadpool_limits(plan.threads):
        for number, (seen, unseen) in enumerate(folds(target, plan.outer_folds, plan.seed)):
            parameters, _ = choose(number + 1, seen)
            model = _fit(algorithm, parameters, features[seen], target[seen], plan, complaints)
            out_of_fold[unseen] = model.predict_proba(features[unseen])[:, 1]
            by_fold.append(parameters)
        parameters, trials = choose(0, slice(None))
        estimator = _fit(algorithm, parameters, features, target, plan, complaints)
    return Trained(estimator, Chosen(parameters, by_fold), out_of_fold, trials, complaints)


def _fit(
    algorithm: Algorithm,
    parameters: dict[str, Any],
    features: Features,
    target: Floats,
    plan: Training,
    complaints: list[str],
) -> BaseEstimator:
    """Fit an estimator inside a sigmoid calibrator (Platt 1999), whose folds are its own."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.exceptions import ConvergenceWarning

    model = build(algorithm, parameters, setting(target, plan))
    if not is_calibrated(algorithm):
        model = CalibratedClassifierCV(
            model,
            method="sigmoid",
            cv=folds(target, plan.inner_folds, plan.seed),
            ensemble=False,
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, target.astype(int))
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            complaints.append(f"{algorithm} {parameters}: {str(warning.message).splitlines()[0]}")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return model
