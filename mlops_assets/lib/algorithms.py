"""The algorithms of the contest: how each is built from its parameters.

Every one takes float32 features with NaN for what is missing, and converts to ONNX exactly: only
linear models are scaled, since a scaler in front of a tree moves rows across a split in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.spec import Algorithm

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Parameters = Mapping[str, Any]


def _logistic_regression(parameters: Parameters, seed: int) -> BaseEstimator:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(**{"max_iter": 2000, "random_state": seed, **parameters}),
    )


def _xgboost(parameters: Parameters, seed: int) -> BaseEstimator:
    from xgboost import XGBClassifier, set_config

    # `n_jobs` holds for trees only. Labels would still be shared out over the cores, which took
    # more than half the time of training on some hundred rows.
    set_config(nthread=1)
    # It takes any name and leaves unknown ones unused, without a word.
    unknown = sorted(parameters.keys() - XGBClassifier().get_params().keys())
    if unknown:
        raise ValueError(f"xgboost has no parameter {', '.join(unknown)}")
    return XGBClassifier(
        **{"tree_method": "hist", "n_jobs": 1, "random_state": seed, "verbosity": 0, **parameters}
    )


ALGORITHMS: dict[Algorithm, Callable[[Parameters, int], BaseEstimator]] = {
    "logistic_regression": _logistic_regression,
    "xgboost": _xgboost,
}
