"""Training one candidate: search, calibration and an out-of-fold score, all nested.

The score that decides the contest comes from rows that neither the search, nor the calibration, nor
the fit of the model that scored them has seen (Cawley and Talbot 2010, on selection bias).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.algorithms import ALGORITHMS
from mlops_assets.lib.spec import Algorithm, Candidate, IntRange, Training

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    Floats = NDArray[np.float64]
    Features = NDArray[np.float32]


@dataclass
class Trained:
    """A trained candidate.

    Attributes:
        estimator: Calibrated pipeline, fitted on every training row.
        parameters: What the search on every training row chose.
        out_of_fold: Probability of each training row from a model that never saw it.
        trials: Parameters and inner log loss of each trial of the last search.
        fold_parameters: What the search chose in each outer fold.
        complaints: Convergence warnings, by the fit they came from.
    """

    estimator: BaseEstimator
    parameters: dict[str, Any]
    out_of_fold: Floats
    trials: list[dict[str, Any]]
    fold_parameters: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def train(
    algorithm: Algorithm, candidate: Candidate, features: Features, target: Floats, plan: Training
) -> Trained:
    """Search, calibrate and fit one candidate, with an honest score of every training row.

    Args:
        algorithm: Key of ``ALGORITHMS``.
        candidate: Its search space and fixed parameters.
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        plan: Folds, trials and seed.
    """
    import numpy as np

    complaints: list[str] = []
    out_of_fold = np.full(len(target), np.nan)
    chosen = []
    for number, (seen, unseen) in enumerate(_folds(target, plan.outer_folds, plan.seed)):
        parameters, _ = _search(
            algorithm, candidate, features[seen], target[seen], plan, number + 1
        )
        model = _fit(algorithm, parameters, features[seen], target[seen], plan, complaints)
        out_of_fold[unseen] = model.predict_proba(features[unseen])[:, 1]
        chosen.append(parameters)
    parameters, trials = _search(algorithm, candidate, features, target, plan, 0)
    estimator = _fit(algorithm, parameters, features, target, plan, complaints)
    return Trained(estimator, parameters, out_of_fold, trials, chosen, complaints)


def _folds(target: Floats, folds: int, seed: int) -> list[tuple[Any, Any]]:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(target), 1)), target))


def _fit(
    algorithm: Algorithm,
    parameters: dict[str, Any],
    features: Features,
    target: Floats,
    plan: Training,
    complaints: list[str],
) -> BaseEstimator:
    """Fit a pipeline inside a sigmoid calibrator (Platt 1999), whose folds are its own."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.exceptions import ConvergenceWarning

    model = CalibratedClassifierCV(
        ALGORITHMS[algorithm](parameters, plan.seed),
        method="sigmoid",
        cv=_folds(target, plan.inner_folds, plan.seed),
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


def _search(
    algorithm: Algorithm,
    candidate: Candidate,
    features: Features,
    target: Floats,
    plan: Training,
    stream: int,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Let Optuna look for the parameters of least inner cross-validated log loss.

    ``stream`` sets the seed apart from those of the other searches. A trial that did not converge
    is judged by its loss like any other; only the fits that count may not give up.
    """
    import numpy as np
    import optuna
    from sklearn.exceptions import ConvergenceWarning

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = _folds(target, plan.inner_folds, plan.seed + stream)

    def objective(trial: optuna.Trial) -> float:
        parameters = candidate.fixed | {
            name: trial.suggest_int(name, space.low, space.high, log=space.log)
            if isinstance(space, IntRange)
            else trial.suggest_float(name, space.low, space.high, log=space.log)
            for name, space in candidate.search.items()
        }
        losses = []
        for seen, unseen in folds:
            model = ALGORITHMS[algorithm](parameters, plan.seed)
            model.fit(features[seen], target[seen].astype(int))
            p = np.clip(model.predict_proba(features[unseen])[:, 1], 1e-7, 1 - 1e-7)
            y = target[unseen]
            losses.append(float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))))
        return float(np.mean(losses))

    sampler = optuna.samplers.TPESampler(seed=plan.seed * 1000 + stream)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        study.optimize(objective, n_trials=plan.trials if candidate.search else 1)
    trials = [
        {"number": trial.number, "log_loss": trial.value, **trial.params} for trial in study.trials
    ]
    return dict(candidate.fixed) | study.best_params, trials
