from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from mlops_assets.lib.evaluation.metrics import metrics
from mlops_assets.lib.spec.gate import Decision, FloorMetric
from mlops_assets.lib.spec.quality import Limit, Quality
from mlops_assets.lib.spec.specs import UnknownUseCaseError, load_spec, load_specs
from mlops_assets.lib.spec.use_case import UseCase


def changed(attributes: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set the value at a dotted path."""
    *folders, name = path.split(".")
    place = attributes
    for folder in folders:
        place = place[folder]
    place[name] = value
    return attributes


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("quality.missing", {"warn": 0.5, "block": 0.1}, r"warn 0\.5 is above block 0\.1"),
        ("quality.missing", {"warn": 0.5, "block": 1.5}, "less than or equal to 1"),
        ("quality.missing_by_column", {"weight": {"warn": 0, "block": 1}}, "no such .* weight"),
        ("quality.positive_rate", [0.9, 0.1], r"positive_rate: 0\.9 is above 0\.1"),
        ("quality.score", 101, "less than or equal to 100"),
        ("gate.slices", ["sex", "weight", "hair"], "gate.slices: no such .* weight, hair"),
        ("gate.slices", ["condition"], "gate.slices: no such .* condition"),
        ("gate.floors", {"rocauc": 0.8}, "roc_auc"),
        # A floor is a least value, and a smaller loss is better.
        ("gate.floors", {"log_loss": 0.8}, "roc_auc"),
        ("gate.floors", {"roc_auc": 80}, "less than or equal to 1"),
        ("gate.slice_minimum_rows", 5, "greater than or equal to 10"),
        ("gate.latency_budget_seconds", 0, "greater than 0"),
        ("split.test_fraction", 0, "greater than 0"),
        ("split.test_fraction", 0.95, r"less than 0\.9"),
        ("training.candidates", {}, "at least 1 item"),
        (
            "training.candidates",
            {"perceptron": {}},
            "'logistic_regression', .* or 'stacked_ensemble'",
        ),
        ("training.candidates.xgboost", {"patience": 0}, "greater than or equal to 1"),
        ("training.trials", 0, "greater than or equal to 1"),
        ("training.outer_folds", 1, "greater than or equal to 2"),
        ("training.seed", -1, "greater than or equal to 0"),
        ("decision.cost_false_negative", 0, "greater than 0"),
        ("rollout.attempts", 0, "greater than or equal to 1"),
        ("owners", [], "at least 1 item"),
        ("name", "Heart Disease", "should match pattern"),
        ("name", "../escape", "should match pattern"),
        ("colour", "red", "colour\n  Extra inputs are not permitted"),
        ("gate.florrs", {}, "gate.florrs\n  Extra inputs are not permitted"),
        ("contract.target.colour", "red", "contract.target.colour\n  Extra inputs"),
    ],
)
def test_mistake_in_the_spec_is_refused_with_the_reason(
    heart_yaml: dict[str, Any], path: str, value: Any, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        UseCase.model_validate(changed(heart_yaml, path, value))


def test_spec_reads_its_own_dump(heart: UseCase) -> None:
    assert UseCase.model_validate(heart.model_dump(exclude_unset=True)) == heart


def test_limit_may_warn_where_it_blocks() -> None:
    assert Limit(warn=0.5, block=0.5).warn == 0.5


def test_one_positive_rate_is_a_range() -> None:
    assert Quality(positive_rate=(0.5, 0.5)).positive_rate == (0.5, 0.5)


@pytest.mark.parametrize(
    ("false_positive", "false_negative", "threshold"), [(1, 1, 0.5), (1, 5, 1 / 6), (3, 1, 0.75)]
)
def test_threshold_follows_from_what_errors_cost(
    false_positive: float, false_negative: float, threshold: float
) -> None:
    costs = Decision(cost_false_positive=false_positive, cost_false_negative=false_negative)
    assert costs.threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("training.trials", 99, False),
        ("training.candidates", {"xgboost": {}}, False),
        ("training.candidates.xgboost", {"patience": 14}, False),
        ("training.candidates.xgboost", {"fixed": {"max_depth": 2}}, False),
        ("split.salt", "other", False),
        ("decision.cost_false_positive", 2, False),
        ("gate.slice_gap", 0.2, True),
        ("title", "Other words", True),
        ("rollout.attempts", 9, True),
    ],
)
def test_training_digest_sees_what_changes_a_model(
    heart: UseCase, heart_yaml: dict[str, Any], path: str, value: Any, same: bool
) -> None:
    other = UseCase.model_validate(changed(heart_yaml, path, value))
    assert other != heart
    assert (other.training_digest == heart.training_digest) == same


def test_floors_are_metrics_that_are_measured() -> None:
    measured = metrics(np.array([0.0, 1.0]), np.array([0.2, 0.7]), 0.5, np.ones((1, 2)))
    assert set(get_args(FloorMetric)) < set(measured)


def test_every_spec_is_found_by_its_name() -> None:
    specs = load_specs()
    assert "heart_disease" in specs
    assert all(load_spec(name) == spec for name, spec in specs.items())


def test_unknown_use_case_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownUseCaseError, match=r"no use case 'hart'; there are: .*heart"):
        load_spec("hart")
