"""The algorithms of the contest: how each is built from its parameters.

Every one takes float32 features with NaN for what is missing, and converts to ONNX exactly: only
linear models are scaled, since a scaler in front of a tree moves rows across a split in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from mlops_assets.lib.spec.training_plan import STACK, Algorithm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    Floats = NDArray[np.float64]
    Features = NDArray[np.float32]

Parameters = Mapping[str, Any]
# The parameter that counts the rounds of a boosted model.
ROUNDS: dict[Algorithm, str] = {"gradient_boosting": "max_iter", "xgboost": "n_estimators"}


@dataclass(frozen=True)
class Setting:
    """What a build needs beside its parameters.

    Attributes:
        seed: Makes every draw repeatable.
        positive_rate: Share of the positive class in the rows of the fit, above 0 and below 1.
        threads: Of the fit.
    """

    seed: int
    positive_rate: float
    threads: int = 1


def build(algorithm: Algorithm, parameters: Parameters, setting: Setting) -> BaseEstimator:
    """An estimator that is ready to be fitted; a stacked ensemble still needs its ``cv``.

    Args:
        algorithm: Which.
        parameters: By the algorithm's own names; for the stacked ensemble the parameters of its
            members by algorithm.
        setting: Everything else.

    Raises:
        TypeError: If the algorithm has no such parameter.
        ValueError: If xgboost is given other class weights than ``balanced``.
    """
    match algorithm:
        case "logistic_regression":
            return _logistic_regression(parameters, setting)
        case "random_forest":
            return _random_forest(parameters, setting)
        case "gradient_boosting":
            return _gradient_boosting(parameters, setting)
        case "xgboost":
            return _xgboost(parameters, setting)
        case "stacked_ensemble":
            return _stacked_ensemble(parameters, setting)


def _logistic_regression(parameters: Parameters, setting: Setting) -> BaseEstimator:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(**{"max_iter": 2000, "random_state": setting.seed, **parameters}),
    )


def _random_forest(parameters: Parameters, setting: Setting) -> BaseEstimator:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    own = {"random_state": setting.seed, "n_jobs": setting.threads}
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        RandomForestClassifier(**{**own, **parameters}),
    )


def _gradient_boosting(parameters: Parameters, setting: Setting) -> BaseEstimator:
    from mlops_assets.lib.training.boosting import GradientBoosting

    own = {"random_state": setting.seed, "early_stopping": False}
    return GradientBoosting(**{**own, **parameters})


def _xgboost(parameters: Parameters, setting: Setting) -> BaseEstimator:
    from xgboost import XGBClassifier, set_config

    # `n_jobs` holds for trees only. Labels would still be shared out over the cores, which took
    # more than half the time of training on some hundred rows.
    set_config(nthread=setting.threads)
    own: dict[str, Any] = {"tree_method": "hist", "n_jobs": setting.threads, "verbosity": 0}
    own["random_state"] = setting.seed
    given = dict(parameters)
    weights = given.pop("class_weight", None)
    if weights not in (None, "balanced"):
        raise ValueError(f"class_weight is null or balanced, not {weights!r}")
    if weights:
        own["scale_pos_weight"] = (1 - setting.positive_rate) / setting.positive_rate
    # It takes any name and leaves unknown ones unused, without a word.
    unknown = sorted(given.keys() - XGBClassifier().get_params().keys())
    if unknown:
        raise TypeError(f"xgboost has no parameter {', '.join(unknown)}")
    return XGBClassifier(**{**own, **given})


def _stacked_ensemble(parameters: Parameters, setting: Setting) -> BaseEstimator:
    from sklearn.ensemble import StackingClassifier
    from sklearn.linear_model import LogisticRegression

    members = cast("Mapping[Algorithm, Parameters]", parameters)
    return StackingClassifier(
        [(name, build(name, own, setting)) for name, own in sorted(members.items())],
        final_estimator=LogisticRegression(random_state=setting.seed),
        stack_method="predict_proba",
    )


def is_calibrated(algorithm: Algorithm) -> bool:
    """Whether its last step is a logistic regression on scores of unseen rows already."""
    return algorithm == STACK


def fit_and_stop(
    algorithm: Algorithm,
    parameters: Parameters,
    setting: Setting,
    patience: int,
    seen: tuple[Features, Floats],
    unseen: tuple[Features, Floats],
) -> tuple[Floats, int | None]:
    """Fit on some rows and score others; boosting stops when those others no longer gain.

    Args:
        algorithm: Which.
        parameters: The parameter of ``ROUNDS`` is the most rounds.
        setting: See ``build``.
        patience: Rounds without a better log loss before boosting stops.
        seen: Features and target (0 or 1) to fit on.
        unseen: Features and target to score, and to stop by.

    Returns:
        Probability of each unseen row, and the rounds used where the algorithm boosts.
    """
    model: Any = build(algorithm, parameters, setting)
    (features, target), (others, truth) = seen, unseen
    labels, held_out = target.astype(int), truth.astype(int)
    # What the fit weights, the stopping weights: the raw scores are shifted by the weights alike.
    weights = None
    if parameters.get("class_weight") == "balanced":
        from sklearn.utils.class_weight import compute_sample_weight

        weights = compute_sample_weight("balanced", held_out)
    if algorithm == "xgboost":
        model.set_params(early_stopping_rounds=patience, eval_metric="logloss")
        model.fit(
            features,
            labels,
            eval_set=[(others, held_out)],
            sample_weight_eval_set=None if weights is None else [weights],
            verbose=False,
        )
        return model.predict_proba(others)[:, 1], int(model.best_iteration) + 1
    if algorithm == "gradient_boosting":
        model.set_params(early_stopping=True, scoring="loss", n_iter_no_change=patience)
        model.fit(features, labels, X_val=others, y_val=held_out, sample_weight_val=weights)
        # The first score is that of no round at all; a model needs one.
        rounds = max(int(model.validation_score_.argmax()), 1)
        (*_, last) = islice(model.staged_predict_proba(others), rounds)
        return last[:, 1], rounds
    model.fit(features, labels)
    return model.predict_proba(others)[:, 1], None
