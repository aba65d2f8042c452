"""Training one candidate: search, calibration and an out-of-fold score, all nested.

The score that decides the contest comes from rows that neither the search, nor the calibration, nor
the fit of the model that scored them has seen (Cawley and Talbot 2010, on selection bias).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.spec.training_plan import STACK, Algorithm, Training
from mlops_assets.lib.training.algorithms import build, is_calibrated
from mlops_assets.lib.training.folds import FREE, Ties, folds
from mlops_assets.lib.training.search import sampled, search, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    Floats = NDArray[np.float64]
    Features = NDArray[np.float32]
    Whole = NDArray[np.int64]


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
        out_of_fold: Probability of each training row from a model that never saw it; NaN for the
            oldest rows where a model is scored on later rows only.
        scored: The rows that a fold scores, shape ``[n]``.
        trials: Parameters and inner log loss of each trial of the last search.
        cut: Searches that the budget of seconds ended before their last trial.
        complaints: Convergence warnings, by the fit they came from.
    """

    estimator: BaseEstimator
    chosen: Chosen
    out_of_fold: Floats
    scored: NDArray[np.bool_]
    trials: list[dict[str, Any]]
    cut: int = 0
    complaints: list[str] = field(default_factory=list)


def train(
    algorithm: Algorithm,
    features: Features,
    target: Floats,
    plan: Training,
    members: Mapping[Algorithm, Chosen] | None = None,
    ties: Ties = FREE,
) -> Trained:
    """Search, calibrate and fit one candidate, with an honest score of the training rows.

    Args:
        algorithm: Which.
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        plan: Search space, folds, trials and seed.
        members: What the stacked ensemble is made of, and nothing else needs. It searches nothing
            itself: in each fold it takes what its members chose there, without that fold's rows.
        ties: What binds rows to each other.

    Raises:
        ValueError: If a class is missing where a model is fitted or scored, or there are too few
            rows, groups or moments for the folds.
    """
    import numpy as np
    import sklearn.ensemble  # noqa: F401 (OpenMP can be limited once it is loaded)
    from threadpoolctl import threadpool_limits

    complaints: list[str] = []
    every = np.arange(len(target))
    out_of_fold = np.full(len(target), np.nan)
    scored = np.zeros(len(target), dtype=bool)
    by_fold: list[dict[str, Any]] = []
    cut = 0

    def choose(stream: int, rows: Whole) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if algorithm == STACK:
            return {
                name: chosen.by_fold[stream - 1] if stream else chosen.parameters
                for name, chosen in (members or {}).items()
            }, []
        nonlocal cut
        drawn: Any = sampled(rows, target, plan, stream)
        if len(drawn) == len(target):
            drawn = slice(None)  # nothing is copied
        found, trials = search(
            algorithm, features[drawn], target[drawn], plan, stream, ties.of(drawn)
        )
        cut += len(trials) < plan.trials_of(algorithm)
        return found, trials

    def fit(parameters: dict[str, Any], rows: Any) -> BaseEstimator:
        own = features[rows], target[rows], ties.of(rows)
        return _fit(algorithm, parameters, *own, plan, complaints)

    with threadpool_limits(plan.threads):
        pairs = folds(target, plan.outer_folds, plan.seed, ties)
        for number, (seen, unseen) in enumerate(pairs, start=1):
            parameters, _ = choose(number, seen)
            model: Any = fit(parameters, seen)
            out_of_fold[unseen] = model.predict_proba(features[unseen])[:, 1]
            scored[unseen] = True
            by_fold.append(parameters)
        parameters, trials = choose(0, every)
        estimator = fit(parameters, slice(None))
    chosen = Chosen(parameters, by_fold)
    return Trained(estimator, chosen, out_of_fold, scored, trials, cut, complaints)


def _fit(
    algorithm: Algorithm,
    parameters: dict[str, Any],
    features: Features,
    target: Floats,
    ties: Ties,
    plan: Training,
    complaints: list[str],
) -> BaseEstimator:
    """Fit an estimator inside a sigmoid calibrator (Platt 1999), whose folds are its own."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.exceptions import ConvergenceWarning

    model: Any = build(algorithm, parameters, setting(target, plan))
    splits = folds(target, plan.inner_folds, plan.seed, ties)
    labels = target.astype(int)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        if ties.time is not None:
            model = _fit_in_time(model, features, labels, splits[-1])
        elif is_calibrated(algorithm):
            model.set_params(cv=splits).fit(features, labels)
        else:
            model = CalibratedClassifierCV(model, method="sigmoid", cv=splits, ensemble=False)
            model.fit(features, labels)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            complaints.append(f"{algorithm} {parameters}: {str(warning.message).splitlines()[0]}")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return model


def _fit_in_time(
    model: Any, features: Features, labels: NDArray[np.int_], split: tuple[Whole, Whole]
) -> BaseEstimator:
    """Fit an estimator on all rows, and its last step on scores of the newest by the older ones.

    scikit-learn's calibrator and stack cross-validate over all rows alike, which would score older
    rows by newer ones.

    Raises:
        ValueError: If the newest rows have fewer than two of a class.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import StackingClassifier
    from sklearn.frozen import FrozenEstimator

    older, newest = split
    _need_two_of_each(labels[newest])
    stacked = isinstance(model, StackingClassifier)
    learners = [member for _, member in model.estimators] if stacked else [model]
    for learner in learners:
        learner.fit(features[older], labels[older])
    if stacked:
        model.set_params(cv="prefit").fit(features[newest], labels[newest])
    else:
        frozen = FrozenEstimator(model)
        calibrated = CalibratedClassifierCV(frozen, method="sigmoid", cv=2, ensemble=False)
        calibrated.fit(features[newest], labels[newest])
        (member,) = calibrated.calibrated_classifiers_
        member.estimator = model  # the converter knows it, and not what froze it
    for learner in learners:
        learner.fit(features, labels)
    return model if stacked else calibrated


def _need_two_of_each(newest: NDArray[np.int_]) -> None:
    import numpy as np

    least = min(np.bincount(newest, minlength=2))
    if least < 2:
        said = f"the newest {len(newest)} rows have {least} of the rarer class"
        raise ValueError(f"{said}: calibration needs two of each")


def refused_in_time(target: Floats, plan: Training, ties: Ties) -> str | None:
    """Why no candidate could be trained forward in time: asked before any is.

    Args:
        target: 0 or 1 of every training row, shape ``[n]``.
        plan: Folds and seed.
        ties: With time.

    Returns:
        What ``train`` would say; None if every fold of every fold can be made.
    """
    import numpy as np

    at = ""
    try:
        outer = folds(target, plan.outer_folds, plan.seed, ties)
        every = np.arange(len(target))
        for stream, rows in enumerate([every, *(seen for seen, _ in outer)]):
            at = f"inside outer fold {stream}: " if stream else "over all rows: "
            drawn = sampled(rows, target, plan, stream)
            folds(target[drawn], plan.inner_folds, plan.seed + stream, ties.of(drawn))
            splits = folds(target[rows], plan.inner_folds, plan.seed, ties.of(rows))
            _need_two_of_each(target[rows][splits[-1][1]].astype(int))
    except ValueError as error:
        return f"{at}{error}"
    return None
