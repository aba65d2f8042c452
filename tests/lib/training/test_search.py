from statistics import median
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlops_assets.lib.spec.training_plan import Algorithm, BaseAlgorithm, Training
from mlops_assets.lib.training.algorithms import ROUNDS, fit_and_stop
from mlops_assets.lib.training.folds import folds
from mlops_assets.lib.training.search import calibrated_log_loss, sampled, search, setting
from tests.lib.helpers import EVERY, signal

Floats = NDArray[np.float64]
BASE: tuple[Algorithm, ...] = get_args(BaseAlgorithm)


def planned(algorithm: Algorithm, trials: int = 2, seed: int = 7, **candidate: Any) -> Training:
    """A plan of one candidate, small by what `EVERY` fixes."""
    small = EVERY.candidates[algorithm].model_dump(exclude_unset=True)
    changes = {"trials": trials, "seed": seed, "candidates": {algorithm: {**small, **candidate}}}
    return Training.model_validate({"outer_folds": 3, "inner_folds": 3, **changes})


def searched(
    algorithm: Algorithm, plan: Training, stream: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return search(algorithm, *signal(120), plan, stream)


@pytest.mark.parametrize("algorithm", BASE)
def test_same_seed_and_stream_find_the_same(algorithm: Algorithm) -> None:
    plan = planned(algorithm)
    assert searched(algorithm, plan) == searched(algorithm, plan)


@pytest.mark.parametrize(("seed", "stream"), [(7, 1), (8, 0)])
def test_another_seed_or_stream_draws_other_parameters(seed: int, stream: int) -> None:
    _, one = searched("logistic_regression", planned("logistic_regression"))
    _, two = searched("logistic_regression", planned("logistic_regression", seed=seed), stream)
    assert not {trial["C"] for trial in one} & {trial["C"] for trial in two}


def test_another_stream_draws_other_folds() -> None:
    plan = planned("logistic_regression", trials=1, search={"C": {"choices": [1.0]}})
    losses = {searched("logistic_regression", plan, stream)[1][0]["log_loss"] for stream in (0, 1)}
    assert len(losses) == 2


@pytest.mark.parametrize("algorithm", BASE)
def test_best_trial_is_chosen_and_every_trial_told(algorithm: Algorithm) -> None:
    plan = planned(algorithm, trials=4)
    found, trials = searched(algorithm, plan)
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    drawn = plan.search(algorithm)
    for trial in trials:
        assert all(space.low <= trial[name] <= space.high for name, space in drawn.items())  # type: ignore[union-attr]
    best = min(trials, key=lambda trial: trial["log_loss"])
    shown = {name: value for name, value in best.items() if name not in ("number", "log_loss")}
    assert found == {**plan.fixed(algorithm), **shown}
    assert found.keys() == {*plan.fixed(algorithm), *drawn}


@pytest.mark.parametrize("algorithm", BASE)
def test_trial_is_judged_by_the_calibrated_scores_of_unseen_rows(algorithm: Algorithm) -> None:
    plan = planned(algorithm, trials=1)
    features, target = signal(120)
    found, (trial,) = search(algorithm, features, target, plan, 4)
    cap = plan.fixed(algorithm).get(ROUNDS.get(algorithm, ""))
    parameters = found if cap is None else {**found, ROUNDS[algorithm]: cap}
    scores, rounds = np.empty(120), []
    for seen, unseen in folds(target, plan.inner_folds, plan.seed + 4):
        scores[unseen], used = fit_and_stop(
            algorithm,
            parameters,
            setting(target[seen], plan),
            plan.candidates[algorithm].patience,
            (features[seen], target[seen]),
            (features[unseen], target[unseen]),
        )
        rounds.append(used)
    assert trial["log_loss"] == calibrated_log_loss(scores, target)
    if cap is not None:
        assert found[ROUNDS[algorithm]] == median(r for r in rounds if r is not None)
        assert 1 <= found[ROUNDS[algorithm]] < cap


def test_searched_rounds_are_a_cap_for_early_stopping() -> None:
    plan = planned(
        "xgboost", trials=3, fixed={}, search={"n_estimators": {"low": 50, "high": 60}}, patience=3
    )
    found, trials = searched("xgboost", plan)
    assert all(1 <= trial["n_estimators"] < 50 for trial in trials)
    assert found["n_estimators"] in [trial["n_estimators"] for trial in trials]


@pytest.mark.parametrize("algorithm", BASE)
def test_choice_may_hold_nothing(algorithm: Algorithm) -> None:
    space = {"class_weight": {"choices": [None, "balanced"]}}
    found, trials = searched(algorithm, planned(algorithm, trials=6, search=space))
    assert {trial["class_weight"] for trial in trials} == {None, "balanced"}
    assert "class_weight" in found
    assert np.isfinite([trial["log_loss"] for trial in trials]).all()


def test_whole_numbers_are_drawn_as_such() -> None:
    space = {"max_depth": {"low": 1, "high": 3}, "subsample": {"low": 0.5, "high": 1.0}}
    _, trials = searched("xgboost", planned("xgboost", trials=3, search=space))
    assert {type(trial["max_depth"]) for trial in trials} == {int}
    assert {type(trial["subsample"]) for trial in trials} == {float}


@pytest.mark.parametrize(("name", "low", "high"), [("C", 1e-6, 1.0), ("max_iter", 100, 10**8)])
def test_logarithmic_range_is_drawn_evenly_by_magnitude(name: str, low: Any, high: Any) -> None:
    space = {name: {"low": low, "high": high, "log": True}}
    _, trials = searched(
        "logistic_regression", planned("logistic_regression", trials=10, search=space)
    )
    assert sum(trial[name] < high / 100 for trial in trials) >= 4


def test_nothing_to_search_is_one_trial() -> None:
    plan = planned("xgboost", trials=5, search={}, fixed={"n_estimators": 30, "max_depth": 2})
    found, (trial,) = searched("xgboost", plan)
    assert trial.keys() == {"number", "log_loss", "n_estimators"}
    assert found == {"n_estimators": trial["n_estimators"], "max_depth": 2}


def test_fit_that_does_not_converge_is_a_trial_like_any_other() -> None:
    plan = planned("logistic_regression", fixed={"max_iter": 1})
    found, trials = searched("logistic_regression", plan)
    assert found["max_iter"] == 1
    assert np.isfinite([trial["log_loss"] for trial in trials]).all()


def test_search_within_a_budget_ends_early_and_has_always_a_trial() -> None:
    plan = planned("logistic_regression", trials=500)
    hurried = plan.model_copy(update={"budget_seconds": 1e-6})
    found, trials = search("logistic_regression", *signal(120), hurried, 0)
    assert len(trials) == 1
    assert found["C"] == trials[0]["C"]


def test_budget_is_shared_by_the_searches_of_a_candidate() -> None:
    assert EVERY.search_seconds is None
    plan = EVERY.model_copy(update={"budget_seconds": 60.0})
    assert plan.search_seconds == 60 / (plan.outer_folds + 1)


def test_draw_of_rows_keeps_the_classes_and_enough_of_the_rarer() -> None:
    plan = Training(search_rows=1000, minimum_positives=20)
    target = np.zeros(50_000)
    target[:5000] = 1
    rows = np.flatnonzero(np.arange(50_000) % 2)
    drawn = sampled(rows, target, plan, 3)
    assert (len(drawn), target[drawn].sum()) == (1000, 100)
    assert set(drawn) <= set(rows)
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, sampled(rows, target, plan, 3))
    assert not np.array_equal(drawn, sampled(rows, target, plan, 4))
    rare = np.zeros(50_000)
    rare[:50] = 1
    assert rare[sampled(rows, rare, plan, 0)].sum() == 20
    few = rows[:1000]
    assert sampled(few, target, plan, 0) is few


def sigmoid(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)


def raw_log_loss(scores: Floats, target: Floats) -> float:
    return float(-np.mean(np.log(np.where(target == 1, scores, 1 - scores))))


def related(rows: int, seed: int) -> tuple[Floats, Floats]:
    """Log-odds, and outcomes drawn by them."""
    random = np.random.default_rng(seed)
    odds = random.normal(scale=1.5, size=rows)
    target = (random.random(rows) < sigmoid(odds)).astype(np.float64)
    target[:2] = 0, 1
    return odds, target


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(0.3, 3))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_shift_and_stretch_of_the_log_odds_make_no_difference(
    seed: int, shift: float, stretch: float
) -> None:
    odds, target = related(80, seed)
    plain = calibrated_log_loss(sigmoid(odds), target)
    assert calibrated_log_loss(sigmoid(shift + stretch * odds), target) == pytest.approx(
        plain, abs=1e-4
    )


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(-2, 3))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_calibrated_loss_is_never_above_the_raw_one(
    seed: int, shift: float, stretch: float
) -> None:
    odds, target = related(80, seed)
    scores = sigmoid(shift + stretch * odds)
    assert calibrated_log_loss(scores, target) <= raw_log_loss(scores, target) + 1e-4


def test_calibration_makes_up_for_scores_that_are_too_high() -> None:
    odds, target = related(400, seed=1)
    scores = sigmoid(odds + 3)
    assert calibrated_log_loss(scores, target) < raw_log_loss(scores, target) - 0.5
    assert calibrated_log_loss(sigmoid(odds), target) == pytest.approx(
        raw_log_loss(sigmoid(odds), target), abs=0.01
    )


@pytest.mark.parametrize(
    "scores", [[0.1, 0.2, 0.8, 0.9], [0.0, 0.0, 1.0, 1.0], [1e-300, 0.0, 1e-6, 1.0]]
)
def test_scores_that_tell_the_classes_apart_have_a_finite_loss(scores: list[float]) -> None:
    found = calibrated_log_loss(np.array(scores), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 0 <= found < 0.05


def test_scores_that_tell_nothing_have_the_loss_of_the_base_rate() -> None:
    target = np.repeat([0.0, 1.0], [30, 10])
    expected = raw_log_loss(np.full(40, 0.25), target)
    assert calibrated_log_loss(np.full(40, 0.9), target) == pytest.approx(expected, abs=1e-5)


def test_better_scores_have_the_lower_loss() -> None:
    odds, target = related(400, seed=2)
    random = np.random.default_rng(3)
    worse = [
        calibrated_log_loss(sigmoid(odds + noise * random.normal(size=400)), target)
        for noise in (0.0, 1.0, 4.0)
    ]
    assert worse == sorted(worse)
