import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from mlops_assets.lib.algorithms import ALGORITHMS
from mlops_assets.lib.spec import Algorithm, Candidate
from mlops_assets.lib.training import Trained, train
from tests.lib.helpers import QUICK, signal

SEARCHED: dict[Algorithm, Candidate] = {
    "logistic_regression": Candidate.model_validate(
        {"search": {"C": {"low": 0.01, "high": 10.0, "log": True}}}
    ),
    "xgboost": Candidate.model_validate(
        {
            "search": {
                "n_estimators": {"low": 3, "high": 8},
                "learning_rate": {"low": 0.1, "high": 0.3},
            },
            "fixed": {"max_depth": 2},
        }
    ),
}
DEEP = Candidate(fixed={"n_estimators": 60, "max_depth": 6, "learning_rate": 0.3})


def quickly(algorithm: Algorithm, candidate: Candidate, rows: int = 90, seed: int = 7) -> Trained:
    features, target = signal(rows)
    plan = QUICK.model_copy(update={"seed": seed})
    return train(algorithm, candidate, features, target, plan)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_same_seed_gives_the_same_model(algorithm: Algorithm) -> None:
    features, _ = signal(90)
    one, two = (quickly(algorithm, SEARCHED[algorithm]) for _ in range(2))
    assert one.parameters == two.parameters
    assert one.fold_parameters == two.fold_parameters
    assert one.trials == two.trials
    np.testing.assert_array_equal(one.out_of_fold, two.out_of_fold)
    np.testing.assert_array_equal(
        one.estimator.predict_proba(features), two.estimator.predict_proba(features)
    )

    assert np.isfinite(one.out_of_fold).all()
    assert ((one.out_of_fold >= 0) & (one.out_of_fold <= 1)).all()
    assert one.complaints == []
    search = SEARCHED[algorithm].search
    assert set(one.parameters) == {*search, *SEARCHED[algorithm].fixed}
    assert all(space.low <= one.parameters[name] <= space.high for name, space in search.items())
    assert len(one.trials) == QUICK.trials
    assert len(one.fold_parameters) == QUICK.outer_folds
    best = min(one.trials, key=lambda trial: trial["log_loss"])
    assert {name: best[name] for name in search} == {name: one.parameters[name] for name in search}


def test_another_seed_draws_other_folds() -> None:
    one, two = (quickly("xgboost", SEARCHED["xgboost"], seed=seed) for seed in (7, 8))
    assert not np.array_equal(one.out_of_fold, two.out_of_fold)


def test_score_of_a_row_never_comes_from_a_model_that_saw_it() -> None:
    # With outcomes drawn by lot there is nothing to learn, and a deep forest remembers every row.
    random = np.random.default_rng(4)
    features = random.normal(size=(240, 5)).astype(np.float32)
    target = random.permutation(np.repeat([0.0, 1.0], 120))
    trained = train("xgboost", DEEP, features, target, QUICK)
    seen = trained.estimator.predict_proba(features)[:, 1]
    assert roc_auc_score(target, seen) > 0.99
    assert 0.4 < roc_auc_score(target, trained.out_of_fold) < 0.6


def test_nothing_to_search_trains_with_what_is_fixed() -> None:
    trained = quickly("xgboost", Candidate(fixed={"n_estimators": 3}))
    assert trained.parameters == {"n_estimators": 3}
    assert trained.fold_parameters == [{"n_estimators": 3}] * QUICK.outer_folds
    assert len(trained.trials) == 1


def test_fit_that_does_not_converge_is_a_complaint() -> None:
    trained = quickly("logistic_regression", Candidate(fixed={"max_iter": 1}))
    assert len(trained.complaints) >= QUICK.outer_folds + 1
    for complaint in trained.complaints:
        assert complaint.startswith("logistic_regression {'max_iter': 1}: ")
        assert "converge" in complaint
        assert "\n" not in complaint


class Grumbling(DecisionTreeClassifier):  # type: ignore[misc]
    """A real model that warns of something else than convergence."""

    def fit(self, features: Any, target: Any) -> Any:
        warnings.warn("the data look odd", UserWarning, stacklevel=2)
        warnings.warn("almost there", ConvergenceWarning, stacklevel=2)
        return super().fit(features, target)


def test_other_warnings_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, "logistic_regression", lambda parameters, seed: Grumbling())
    with pytest.warns(UserWarning, match="the data look odd") as caught:
        trained = quickly("logistic_regression", Candidate())
    assert not [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert {c.split(": ")[1] for c in trained.complaints} == {"almost there"}


@pytest.mark.parametrize(
    ("algorithm", "error", "said"),
    [
        ("xgboost", ValueError, "xgboost has no parameter n_estimator"),
        ("logistic_regression", TypeError, "n_estimator"),
    ],
)
def test_parameter_that_does_not_exist_is_refused(
    algorithm: Algorithm, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ALGORITHMS[algorithm]({"n_estimator": 3}, 7)


def test_feature_that_is_never_recorded_is_no_obstacle() -> None:
    features, target = signal(90)
    features[:, 3] = np.nan
    for algorithm, candidate in SEARCHED.items():
        trained = train(algorithm, candidate, features, target, QUICK)
        assert np.isfinite(trained.out_of_fold).all()
