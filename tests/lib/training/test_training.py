import warnings
from typing import Any, get_args

import numpy as np
import pytest
import sklearn.ensemble
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from mlops_assets.lib.evaluation.intervals import with_intervals
from mlops_assets.lib.spec.training_plan import SEARCH, STACK, Algorithm, BaseAlgorithm, Training
from mlops_assets.lib.training.folds import Ties, folds
from mlops_assets.lib.training.onnx_model import convert, predictor
from mlops_assets.lib.training.train import Chosen, Trained, train
from tests.lib.helpers import EVERY, signal, train_every

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
BASE: tuple[Algorithm, ...] = get_args(BaseAlgorithm)
ALL = list(SEARCH)
# Instead of the some hundred trees that a real training takes.
FEW: dict[Algorithm, dict[str, int]] = {
    "logistic_regression": {},
    "random_forest": {"n_estimators": 20, "min_samples_leaf": 5},
    "gradient_boosting": {"max_iter": 20},
    "xgboost": {"n_estimators": 20},
}
ROWS = 120


def alone(algorithm: Algorithm, seed: int = 7, **candidate: Any) -> Training:
    """A plan of one candidate, with the folds and trials of `EVERY`."""
    budget = {"outer_folds": 3, "inner_folds": 2, "trials": 2, "seed": seed}
    return Training.model_validate({**budget, "candidates": {algorithm: candidate}})


def noise(rows: int) -> tuple[Features, Floats]:
    """Outcomes drawn by lot: there is nothing to learn."""
    random = np.random.default_rng(4)
    features = random.normal(size=(rows, 5)).astype(np.float32)
    return features, random.permutation(np.repeat([0.0, 1.0], rows // 2))


@pytest.fixture(scope="module")
def every() -> dict[Algorithm, Trained]:
    return train_every(*signal(ROWS))


@pytest.fixture(scope="module")
def again() -> dict[Algorithm, Trained]:
    return train_every(*signal(ROWS))


@pytest.mark.parametrize("algorithm", ALL)
def test_same_seed_gives_the_same_model(
    every: dict[Algorithm, Trained], again: dict[Algorithm, Trained], algorithm: Algorithm
) -> None:
    one, two = every[algorithm], again[algorithm]
    assert one.estimator is not two.estimator
    assert one.chosen == two.chosen
    assert one.trials == two.trials
    np.testing.assert_array_equal(one.out_of_fold, two.out_of_fold)
    features, _ = signal(ROWS)
    np.testing.assert_array_equal(
        one.estimator.predict_proba(features), two.estimator.predict_proba(features)
    )


@pytest.mark.parametrize("algorithm", ALL)
def test_every_row_has_a_score_and_every_fold_its_parameters(
    every: dict[Algorithm, Trained], algorithm: Algorithm
) -> None:
    trained = every[algorithm]
    assert ((trained.out_of_fold > 0) & (trained.out_of_fold < 1)).all()
    assert len(trained.chosen.by_fold) == EVERY.outer_folds
    assert trained.complaints == []
    names = {*EVERY.search(algorithm), *EVERY.fixed(algorithm)}
    if algorithm == STACK:
        names = set(EVERY.members)
    assert all(names == chosen.keys() for chosen in trained.chosen.by_fold)
    assert trained.chosen.parameters.keys() == names
    assert len(trained.trials) == (0 if algorithm == STACK else EVERY.trials)


@pytest.mark.parametrize("algorithm", ALL)
def test_signal_is_found(every: dict[Algorithm, Trained], algorithm: Algorithm) -> None:
    _, target = signal(ROWS)
    assert roc_auc_score(target, every[algorithm].out_of_fold) > 0.65


@pytest.mark.parametrize("algorithm", BASE)
def test_each_fold_has_a_search_of_its_own(
    every: dict[Algorithm, Trained], algorithm: Algorithm
) -> None:
    (searched, *_) = EVERY.search(algorithm)
    chosen = every[algorithm].chosen
    drawn = [parameters[searched] for parameters in (chosen.parameters, *chosen.by_fold)]
    assert len(set(drawn)) == EVERY.outer_folds + 1


@pytest.mark.parametrize("number", range(EVERY.outer_folds))
def test_score_of_a_row_never_comes_from_a_model_that_saw_its_fold(
    every: dict[Algorithm, Trained], number: int
) -> None:
    features, target = signal(ROWS)
    held_out = folds(target, EVERY.outer_folds, EVERY.seed)[number][1]
    kept, changed = held_out[::2], held_out[1::2]
    features[changed] = np.random.default_rng(1).normal(size=(len(changed), 4)) * 9
    others = np.setdiff1d(np.arange(ROWS), held_out)
    for algorithm, trained in train_every(features, target).items():
        before = every[algorithm]
        assert trained.chosen.by_fold[number] == before.chosen.by_fold[number], algorithm
        np.testing.assert_array_equal(trained.out_of_fold[kept], before.out_of_fold[kept])
        for rows in (others, changed):
            assert not np.array_equal(trained.out_of_fold[rows], before.out_of_fold[rows])


def test_noise_is_not_learnt_and_memory_does_not_help() -> None:
    features, target = noise(240)
    small = EVERY.model_dump(exclude_unset=True)
    small["candidates"]["random_forest"]["fixed"] = {"n_estimators": 20, "min_samples_leaf": 1}
    trained = train_every(features, target, Training.model_validate(small))
    for algorithm, each in trained.items():
        assert 0.35 < roc_auc_score(target, each.out_of_fold) < 0.6, algorithm
    forest = trained["random_forest"].estimator
    assert roc_auc_score(target, forest.predict_proba(features)[:, 1]) > 0.99


MEMBERS: dict[Algorithm, Chosen] = {
    "logistic_regression": Chosen({"C": 1.0}, [{"C": 0.01}, {"C": 0.02}, {"C": 0.03}]),
    "random_forest": Chosen(
        {"n_estimators": 4}, [{"n_estimators": 5}, {"n_estimators": 6}, {"n_estimators": 7}]
    ),
}


def stacked(members: dict[Algorithm, Chosen]) -> Trained:
    return train(STACK, *signal(ROWS), EVERY, members)


def test_stack_takes_in_each_fold_what_its_members_chose_there() -> None:
    trained = stacked(MEMBERS)
    assert trained.trials == []
    assert trained.chosen.by_fold == [
        {"logistic_regression": {"C": c}, "random_forest": {"n_estimators": trees}}
        for c, trees in ((0.01, 5), (0.02, 6), (0.03, 7))
    ]
    assert trained.chosen.parameters == {
        "logistic_regression": {"C": 1.0},
        "random_forest": {"n_estimators": 4},
    }
    linear, forest = trained.estimator.estimators_
    assert (linear[-1].C, forest[-1].n_estimators) == (1.0, 4)


@pytest.mark.parametrize("number", [None, 0, 1, 2])
def test_stacks_score_of_a_fold_depends_on_that_folds_parameters_alone(number: int | None) -> None:
    chosen = MEMBERS["random_forest"]
    if number is None:
        other = Chosen({"n_estimators": 30}, chosen.by_fold)
    else:
        by_fold = [*chosen.by_fold]
        by_fold[number] = {"n_estimators": 30}
        other = Chosen(chosen.parameters, by_fold)
    one, two = stacked(MEMBERS), stacked({**MEMBERS, "random_forest": other})
    features, target = signal(ROWS)
    for fold, (_, unseen) in enumerate(folds(target, EVERY.outer_folds, EVERY.seed)):
        same = np.array_equal(one.out_of_fold[unseen], two.out_of_fold[unseen])
        assert same == (fold != number), fold
    answers = [trained.estimator.predict_proba(features) for trained in (one, two)]
    assert np.array_equal(*answers) == (number is not None)


@pytest.mark.parametrize("algorithm", BASE)
def test_weighted_classes_are_calibrated_back_to_the_base_rate(algorithm: Algorithm) -> None:
    random = np.random.default_rng(5)
    features = random.normal(size=(300, 4)).astype(np.float32)
    target = (features[:, 0] + random.normal(size=300) > 1.5).astype(np.float64)
    plan = alone(algorithm, search={}, fixed={**FEW[algorithm], "class_weight": "balanced"})
    trained = train(algorithm, features, target, plan)
    assert target.mean() < 0.2
    assert trained.out_of_fold.mean() == pytest.approx(target.mean(), abs=0.03)
    assert roc_auc_score(target, trained.out_of_fold) > 0.7


def test_another_seed_draws_other_folds() -> None:
    candidate = {"search": {}, "fixed": FEW["random_forest"]}
    one, two = (
        train("random_forest", *signal(ROWS), alone("random_forest", seed, **candidate))
        for seed in (7, 8)
    )
    assert not np.array_equal(one.out_of_fold, two.out_of_fold)


def test_nothing_to_search_trains_with_what_is_fixed() -> None:
    plan = alone("random_forest", search={}, fixed={"n_estimators": 3})
    trained = train("random_forest", *signal(ROWS), plan)
    assert trained.chosen == Chosen({"n_estimators": 3}, [{"n_estimators": 3}] * 3)
    assert len(trained.trials) == 1


def test_fit_that_does_not_converge_is_a_complaint() -> None:
    plan = alone("logistic_regression", search={}, fixed={"max_iter": 1})
    trained = train("logistic_regression", *signal(ROWS), plan)
    assert len(trained.complaints) >= EVERY.outer_folds + 1
    for complaint in trained.complaints:
        assert complaint.startswith("logistic_regression {'max_iter': 1}: ")
        assert "converge" in complaint
        assert "\n" not in complaint


def test_members_of_the_stack_that_do_not_converge_are_complained_of() -> None:
    lazy = {"max_iter": 1}
    trained = stacked({**MEMBERS, "logistic_regression": Chosen(lazy, [lazy] * 3)})
    assert len(trained.complaints) >= EVERY.outer_folds + 1
    assert all(complaint.startswith(f"{STACK} {{") for complaint in trained.complaints)


class Grumbling(RandomForestClassifier):  # type: ignore[misc]
    """A real model that warns of something else than convergence."""

    def fit(self, features: Any, target: Any) -> Any:
        warnings.warn("the data look odd", UserWarning, stacklevel=2)
        warnings.warn("almost there", ConvergenceWarning, stacklevel=2)
        return super().fit(features, target)


def test_other_warnings_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn.ensemble, "RandomForestClassifier", Grumbling)
    plan = alone("random_forest", search={}, fixed={"n_estimators": 3})
    with pytest.warns(UserWarning, match="the data look odd") as caught:
        trained = train("random_forest", *signal(ROWS), plan)
    assert not [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert {complaint.split(": ")[-1] for complaint in trained.complaints} == {"almost there"}


@pytest.mark.parametrize("algorithm", ALL)
def test_feature_that_is_never_recorded_is_no_obstacle(algorithm: Algorithm) -> None:
    features, target = signal(ROWS)
    assert np.isnan(features[:, 0]).any()
    features[:, 3] = np.nan
    plan, members = EVERY, None
    if algorithm == STACK:
        members = MEMBERS
    else:
        plan = alone(algorithm, search={}, fixed=FEW[algorithm])
    trained = train(algorithm, features, target, plan, members)
    assert roc_auc_score(target, trained.out_of_fold) > 0.65


PAIR: tuple[Algorithm, ...] = ("logistic_regression", "random_forest")
SEVERAL: dict[Algorithm, dict[str, Any]] = {
    name: {"search": {}, "fixed": FEW[name]} for name in PAIR
}
IN_TIME = Training.model_validate(
    {"outer_folds": 3, "inner_folds": 2, "candidates": {**SEVERAL, STACK: {}}}
)


def test_in_time_no_row_is_scored_by_a_model_of_later_rows() -> None:
    features, target = signal(400)
    time = np.random.default_rng(3).permutation(400)
    ties = Ties(time=time)
    before = train_every(features, target, IN_TIME, ties)
    newer = time >= 300
    features[newer], target[newer] = features[newer][::-1], 1 - target[newer]
    for algorithm, after in train_every(features, target, IN_TIME, ties).items():
        old = before[algorithm]
        np.testing.assert_array_equal(old.scored, time >= 100)
        np.testing.assert_array_equal(np.isfinite(old.out_of_fold), old.scored)
        np.testing.assert_array_equal(after.out_of_fold[~newer], old.out_of_fold[~newer])
        assert not np.array_equal(after.out_of_fold[newer], old.out_of_fold[newer])
        middle = old.scored & ~newer
        assert roc_auc_score(target[middle], old.out_of_fold[middle]) > 0.65


@pytest.mark.parametrize("algorithm", [*FEW, STACK])
def test_model_that_was_fitted_in_time_converts_and_is_made_of_all_rows(
    algorithm: Algorithm,
) -> None:
    features, target = signal(300)
    ties = Ties(time=np.arange(300))
    plan, members = IN_TIME, MEMBERS
    if algorithm != STACK:
        plan = Training.model_validate(
            {
                "outer_folds": 3,
                "inner_folds": 2,
                "candidates": {algorithm: {"search": {}, "fixed": FEW[algorithm]}},
            }
        )
    trained = train(algorithm, features, target, plan, members, ties)
    probability = trained.estimator.predict_proba(features)[:, 1]
    np.testing.assert_allclose(
        predictor(convert(trained.estimator, 4))(features), probability, atol=1e-5
    )
    # The oldest rows are part of the final fit, whatever calibrates it.
    changed = target.copy()
    changed[:20] = 1 - changed[:20]
    other = train(algorithm, features, changed, plan, members, ties)
    assert not np.array_equal(other.estimator.predict_proba(features)[:, 1], probability)


def test_newest_rows_of_one_class_cannot_calibrate() -> None:
    features, target = signal(400)
    target[266:] = 0
    with pytest.raises(ValueError, match=r"the newest \d+ rows have 0 of the rarer class"):
        train("random_forest", features, target, IN_TIME, ties=Ties(time=np.arange(400)))


def test_group_is_scored_by_models_that_never_saw_it() -> None:
    """Rows of a group are alike but for the outcome, which is drawn by lot for the group."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 6)
    features = random.normal(size=(40, 4)).astype(np.float32)[group]
    target = random.permutation(np.repeat([0.0, 1.0], 20))[group]
    plan = alone("random_forest", search={}, fixed={"n_estimators": 20})
    blind = train("random_forest", features, target, plan)
    kept = train("random_forest", features, target, plan, ties=Ties(group=group))
    assert roc_auc_score(target, blind.out_of_fold) > 0.95
    assert roc_auc_score(target, kept.out_of_fold) < 0.75


@pytest.mark.parametrize("algorithm", BASE)
def test_one_row_in_a_hundred_is_enough_to_learn_from(algorithm: Algorithm) -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(3000, 4)).astype(np.float32)
    target = np.zeros(3000)
    target[np.argsort(features[:, 0] + random.normal(size=3000))[-30:]] = 1
    space = {"class_weight": {"choices": [None, "balanced"]}}
    trained = train(
        algorithm, features, target, alone(algorithm, search=space, fixed=FEW[algorithm])
    )
    scores = with_intervals(target, trained.out_of_fold, 1 / 51, seed=1)
    assert trained.out_of_fold.mean() == pytest.approx(0.01, abs=0.005)
    assert scores["roc_auc"].low > 0.75
    # At the threshold of a miss that costs fifty times a false alarm, many are found.
    assert scores["recall"].value > 0.3
    assert np.isfinite([score.high for score in scores.values()]).all()


def test_searches_that_the_budget_cut_short_are_counted() -> None:
    plan = alone("logistic_regression").model_copy(update={"budget_seconds": 1e-6, "trials": 50})
    hurried = train("logistic_regression", *signal(ROWS), plan)
    assert hurried.cut == plan.outer_folds + 1
    assert len(hurried.trials) == 1


def test_target_of_one_class_is_refused() -> None:
    features, _ = signal(ROWS)
    with pytest.raises(ValueError, match="0 rows of the rarer class cannot be shared out"):
        train("random_forest", features, np.zeros(ROWS), alone("random_forest"))
