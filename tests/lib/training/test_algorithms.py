from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.spec.parameters import PARAMETERS
from mlops_assets.lib.spec.training_plan import STACK, Algorithm, BaseAlgorithm
from mlops_assets.lib.training.algorithms import ROUNDS, Setting, build, fit_and_stop
from tests.lib.helpers import signal

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Rows = tuple[Features, Floats]

BASE: tuple[Algorithm, ...] = get_args(BaseAlgorithm)
BOOSTED = list(ROUNDS)
CAP = 200
# Small trees that differ by chance, so that each round counts.
SMALL: dict[Algorithm, dict[str, Any]] = {
    "logistic_regression": {"C": 0.5},
    "random_forest": {"n_estimators": 10, "max_features": 0.5},
    "gradient_boosting": {"max_iter": CAP, "learning_rate": 0.1, "min_samples_leaf": 5},
    "xgboost": {"n_estimators": CAP, "learning_rate": 0.1, "max_depth": 3, "subsample": 0.7},
}


def given(target: Floats, **changes: Any) -> Setting:
    return Setting(**{"seed": 7, "positive_rate": float(target.mean()), **changes})


def noise(rows: int, seed: int = 0) -> Rows:
    """Outcomes drawn by lot: the best model is none."""
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, 4)).astype(np.float32), random.permutation(
        np.arange(rows) % 2
    ).astype(np.float64)


def test_known_parameters_are_those_of_the_libraries() -> None:
    for algorithm in BASE:
        model: Any = build(algorithm, {}, Setting(0, 0.5))
        steps = getattr(model, "steps", [("", model)])
        own = {"class_weight"} if algorithm == "xgboost" else set()
        assert PARAMETERS[algorithm] == steps[-1][1].get_params().keys() | own


def halves(rows: Rows) -> tuple[Rows, Rows]:
    features, target = rows
    middle = len(target) // 2
    return (features[:middle], target[:middle]), (features[middle:], target[middle:])


def stop(algorithm: Algorithm, seen: Rows, unseen: Rows, patience: int = 5, **changes: Any) -> Any:
    parameters = {**SMALL[algorithm], **changes}
    return fit_and_stop(algorithm, parameters, given(seen[1]), patience, seen, unseen)


def fresh(algorithm: Algorithm, seen: Rows, unseen: Rows, **changes: Any) -> Floats:
    """Probabilities of a model that was fitted without looking at the unseen rows."""
    model: Any = build(algorithm, {**SMALL[algorithm], **changes}, given(seen[1]))
    found: Floats = model.fit(seen[0], seen[1].astype(int)).predict_proba(unseen[0])[:, 1]
    return found


def log_loss(target: Floats, probability: Floats) -> float:
    return float(-np.mean(np.log(np.where(target == 1, probability, 1 - probability))))


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_boosting_stops_early_where_there_is_nothing_to_learn(algorithm: Algorithm) -> None:
    _, rounds = stop(algorithm, *halves(noise(200)))
    assert 1 <= rounds < CAP / 4


@pytest.mark.parametrize("algorithm", BOOSTED)
@pytest.mark.parametrize("rows", [signal(300), noise(300, seed=3)], ids=["signal", "noise"])
def test_probabilities_are_those_of_the_round_that_is_told(
    algorithm: Algorithm, rows: Rows
) -> None:
    seen, unseen = halves(rows)
    probability, rounds = stop(algorithm, seen, unseen)
    expected = fresh(algorithm, seen, unseen, **{ROUNDS[algorithm]: rounds})
    np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-7)
    other = fresh(algorithm, seen, unseen, **{ROUNDS[algorithm]: rounds + 1})
    assert np.abs(probability - other).max() > 1e-4


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_no_round_within_the_patience_is_better_than_the_one_chosen(algorithm: Algorithm) -> None:
    seen, unseen = halves(signal(300))
    probability, rounds = stop(algorithm, seen, unseen, patience=4)
    assert rounds > 1
    best = log_loss(unseen[1], probability)
    for other in range(1, rounds + 5):
        tried = fresh(algorithm, seen, unseen, **{ROUNDS[algorithm]: other})
        assert log_loss(unseen[1], tried) >= best - 1e-6, other


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_patience_lets_boosting_go_on(algorithm: Algorithm) -> None:
    seen, unseen = halves(signal(300))
    few = stop(algorithm, seen, unseen, patience=1, learning_rate=0.02)[1]
    many = stop(algorithm, seen, unseen, patience=60, learning_rate=0.02)[1]
    assert few < many


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_boosting_that_only_harms_keeps_one_round(algorithm: Algorithm) -> None:
    (features, target), (others, truth) = halves(signal(300))
    probability, rounds = stop(algorithm, (features, target), (others, 1 - truth))
    assert rounds == 1
    expected = fresh(algorithm, (features, target), (others, truth), **{ROUNDS[algorithm]: 1})
    np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("algorithm", BOOSTED)
def test_boosting_stays_within_its_cap(algorithm: Algorithm) -> None:
    seen, unseen = halves(signal(300))
    assert stop(algorithm, seen, unseen, **{ROUNDS[algorithm]: 3})[1] == 3


@pytest.mark.parametrize("algorithm", ["logistic_regression", "random_forest"])
def test_others_are_fitted_as_they_are(algorithm: Algorithm) -> None:
    seen, unseen = halves(signal(120))
    probability, rounds = stop(algorithm, seen, unseen)
    assert rounds is None
    np.testing.assert_array_equal(probability, fresh(algorithm, seen, unseen))


@pytest.mark.parametrize("algorithm", BASE)
def test_balanced_classes_weigh_the_rarer_one_up(algorithm: Algorithm) -> None:
    random = np.random.default_rng(5)
    features = random.normal(size=(400, 4)).astype(np.float32)
    target = (features[:, 0] + random.normal(size=400) > 1.8).astype(np.float64)
    rows = (features, target)
    assert target.mean() < 0.15
    few = {ROUNDS[algorithm]: 20} if algorithm in ROUNDS else {}
    if algorithm == "random_forest":
        few = {"max_depth": 3}
    plain = fresh(algorithm, rows, rows, **few)
    null = fresh(algorithm, rows, rows, **few, class_weight=None)
    balanced = fresh(algorithm, rows, rows, **few, class_weight="balanced")
    np.testing.assert_array_equal(plain, null)
    assert plain.mean() == pytest.approx(target.mean(), abs=0.03)
    assert balanced.mean() > 1.5 * plain.mean()


@pytest.mark.parametrize("algorithm", BASE)
def test_parameter_that_does_not_exist_is_refused(algorithm: Algorithm) -> None:
    with pytest.raises(TypeError, match="n_estimator"):
        build(algorithm, {"n_estimator": 3}, Setting(7, 0.5))


def test_stack_refuses_a_members_unknown_parameter() -> None:
    with pytest.raises(TypeError, match="xgboost has no parameter depth"):
        build(STACK, {"random_forest": {}, "xgboost": {"depth": 3}}, Setting(7, 0.5))


def test_stack_is_built_of_its_members_parameters() -> None:
    members: dict[str, Any] = {
        "xgboost": {"n_estimators": 3},
        "random_forest": {"n_estimators": 4, "max_depth": 2},
    }
    stack: Any = build(STACK, members, Setting(seed=9, positive_rate=0.5, threads=2))
    assert [name for name, _ in stack.estimators] == ["random_forest", "xgboost"]
    (_, forest), (_, boosted) = stack.estimators
    own = forest[-1].get_params()
    assert (own["n_estimators"], own["max_depth"]) == (4, 2)
    assert boosted.get_params()["n_estimators"] == 3
    for parameters in (own, boosted.get_params()):
        assert (parameters["random_state"], parameters["n_jobs"]) == (9, 2)


@pytest.mark.parametrize("algorithm", BASE)
def test_seed_of_the_setting_is_the_models(algorithm: Algorithm) -> None:
    model: Any = build(algorithm, {}, Setting(seed=23, positive_rate=0.5))
    last = model[-1] if hasattr(model, "steps") else model
    assert last.get_params()["random_state"] == 23
