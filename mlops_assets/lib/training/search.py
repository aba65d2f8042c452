"""The search: Optuna looks for the parameters whose calibrated probabilities are best.

A trial is judged as its model would be used: by the log loss of its cross-validated scores after a
sigmoid calibration. The raw scores would be unfair to class weights, which shift every probability.
"""

from __future__ import annotations

import time
import warnings
from statistics import median
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.spec.training_plan import Algorithm, Choice, IntRange, Space, Training
from mlops_assets.lib.training.algorithms import ROUNDS, Setting, fit_and_stop
from mlops_assets.lib.training.folds import FREE, Ties, folds

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Features = NDArray[np.float32]
    Whole = NDArray[np.int64]

LEAST = 1e-7


def sampled(rows: Whole, target: Floats, plan: Training, stream: int) -> Whole:
    """The rows of a search: all of them, or a draw of ``plan.search_rows``.

    The draw has the classes in their proportion; only where the rarer one would have fewer rows
    than ``plan.minimum_positives`` it keeps as many, if there are.

    Args:
        rows: To draw from, as indices.
        target: 0 or 1 of every row.
        plan: Rows of a search, and the seed.
        stream: Sets the seed apart from those of the other searches.
    """
    import numpy as np

    if len(rows) <= plan.search_rows:
        return rows
    random = np.random.default_rng([plan.seed, stream])
    drawn = []
    for label in (0, 1):
        own = rows[target[rows] == label]
        share = round(plan.search_rows * len(own) / len(rows))
        count = min(max(share, plan.minimum_positives), len(own))
        drawn.append(random.choice(own, count, replace=False))
    return np.sort(np.concatenate(drawn))


def setting(target: Floats, plan: Training) -> Setting:
    """What a fit on these rows needs beside its parameters."""
    return Setting(plan.seed, float(target.mean()), plan.threads)


def search(
    algorithm: Algorithm,
    features: Features,
    target: Floats,
    plan: Training,
    stream: int,
    ties: Ties = FREE,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Look for the parameters of least inner cross-validated log loss.

    A trial that did not converge is judged by its loss like any other; only the fits that count may
    not give up. A boosted model gets the median of the rounds that its folds used.

    Args:
        algorithm: Which.
        features: float32, shape ``[n, f]``, NaN for a missing value.
        target: 0 or 1, shape ``[n]``.
        plan: Search space, folds, trials and seed.
        stream: Sets the seed apart from those of the other searches.
        ties: What binds rows to each other.

    Returns:
        The best parameters, and every trial: its number, parameters and log loss. There is at least
        one; fewer than planned where the plan's budget of seconds ran out.
    """
    import numpy as np
    import optuna
    from sklearn.exceptions import ConvergenceWarning

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    splits = folds(target, plan.inner_folds, plan.seed + stream, ties)
    # In time the oldest rows are never scored.
    scored = np.sort(np.concatenate([unseen for _, unseen in splits]))
    fixed, spaces = plan.fixed(algorithm), plan.search(algorithm)
    patience = plan.candidates[algorithm].patience
    rounds_name = ROUNDS.get(algorithm)

    def objective(trial: optuna.Trial) -> float:
        drawn = {name: _draw(trial, name, space) for name, space in spaces.items()}
        scores = np.full(len(target), np.nan)
        rounds: list[int] = []
        for seen, unseen in splits:
            scores[unseen], used = fit_and_stop(
                algorithm,
                {**fixed, **drawn},
                setting(target[seen], plan),
                patience,
                (features[seen], target[seen]),
                (features[unseen], target[unseen]),
            )
            rounds += [] if used is None else [used]
        if rounds_name is not None:
            trial.set_user_attr(rounds_name, int(median(rounds)))
        return calibrated_log_loss(scores[scored], target[scored])

    started = time.monotonic()

    def stop_in_time(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        # Optuna's own timeout may end a study before its first trial.
        if plan.search_seconds is not None and time.monotonic() - started > plan.search_seconds:
            study.stop()

    sampler = optuna.samplers.TPESampler(seed=plan.seed * 1000 + stream)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        study.optimize(objective, n_trials=plan.trials_of(algorithm), callbacks=[stop_in_time])
    trials = [
        {"number": trial.number, "log_loss": trial.value, **trial.params, **trial.user_attrs}
        for trial in study.trials
    ]
    best = study.best_trial
    return {**fixed, **best.params, **best.user_attrs}, trials


def _draw(trial: optuna.Trial, name: str, space: Space) -> Any:
    if isinstance(space, Choice):
        return trial.suggest_categorical(name, space.choices)
    if isinstance(space, IntRange):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def calibrated_log_loss(scores: Floats, target: Floats) -> float:
    """Log loss of scores (0 to 1) after a sigmoid of their log-odds, fitted to the target.

    Its two parameters are fitted to the rows that it is judged on: with the fifty rows or more that
    a search has, that flatters every trial by the same little.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    clipped = np.clip(scores, LEAST, 1 - LEAST)
    odds = np.log(clipped / (1 - clipped)).reshape(-1, 1)
    # C: next to no shrinkage, and finite where the scores separate the classes.
    model = LogisticRegression(C=1e4, max_iter=200).fit(odds, target.astype(int))
    p = np.clip(model.predict_proba(odds)[:, 1], LEAST, 1 - LEAST)
    return float(-np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)))
