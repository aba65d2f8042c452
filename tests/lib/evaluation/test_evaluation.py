import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.evaluation.contest import (
    baseline,
    broken_floors,
    calibration_curve,
    confusion,
    cost_curve,
    winner,
)
from mlops_assets.lib.spec.gate import Decision


def scores(roc_auc: float, log_loss: float = 0.5) -> dict[str, float]:
    return {"roc_auc": roc_auc, "log_loss": log_loss}


@pytest.mark.parametrize(
    ("contest", "best"),
    [
        ({"a": scores(0.8), "b": scores(0.9)}, "b"),
        ({"a": scores(0.9), "b": scores(0.8)}, "a"),
        # A tie goes to the lower log loss, whatever the order.
        ({"a": scores(0.9, 0.4), "b": scores(0.9, 0.3)}, "b"),
        ({"b": scores(0.9, 0.3), "a": scores(0.9, 0.4)}, "b"),
        ({"b": scores(0.9, 0.4), "a": scores(0.9, 0.3)}, "a"),
        # A tie in both goes to the first name.
        ({"b": scores(0.9), "a": scores(0.9)}, "a"),
        # No score never wins.
        ({"a": scores(math.nan), "b": scores(0.6)}, "b"),
        ({"a": scores(0.6), "b": scores(math.nan)}, "a"),
    ],
)
def test_winner_has_the_highest_roc_auc(contest: dict[str, dict[str, float]], best: str) -> None:
    assert winner(contest) == best


@pytest.mark.parametrize("contest", [{}, {"a": scores(math.nan)}])
def test_contest_without_a_score_has_no_winner(contest: dict[str, dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="no candidate takes part"):
        winner(contest)


PAIRS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=50)


@given(PAIRS)
@settings(deadline=None, derandomize=True)
def test_calibration_curve_accounts_for_every_row(pairs: list[tuple[int, float]]) -> None:
    target, probability = (np.array(v, dtype=np.float64) for v in zip(*pairs, strict=True))
    curve = calibration_curve(target, probability)
    assert len(curve) <= 10
    assert sum(b["rows"] for b in curve) == len(pairs)
    assert sum(b["rows"] * b["predicted"] for b in curve) == pytest.approx(probability.sum())
    assert sum(b["rows"] * b["observed"] for b in curve) == pytest.approx(target.sum())
    assert all(b["rows"] > 0 for b in curve)
    predicted = [b["predicted"] for b in curve]
    assert predicted == sorted(predicted)


@given(PAIRS, st.floats(0, 1))
@settings(deadline=None, derandomize=True)
def test_confusion_adds_up(pairs: list[tuple[int, float]], threshold: float) -> None:
    target, probability = (np.array(v, dtype=np.float64) for v in zip(*pairs, strict=True))
    found = confusion(target, probability, threshold)
    assert sum(found.values()) == len(pairs)
    assert found["true_positive"] + found["false_negative"] == target.sum()
    called = sum(p >= threshold for _, p in pairs)
    assert found["true_positive"] + found["false_positive"] == called
    right = sum((p >= threshold) == (t == 1) for t, p in pairs)
    assert found["true_positive"] + found["true_negative"] == right


def test_cost_curve_is_what_a_hand_computes() -> None:
    target = np.array([0.0, 0.0, 1.0, 1.0])
    probability = np.array([0.1, 0.6, 0.4, 0.9])
    found = cost_curve(target, probability, Decision(cost_false_positive=1, cost_false_negative=3))
    assert found.thresholds == pytest.approx([number / 100 for number in range(101)])
    by_hundredth = dict(zip(range(101), found.costs, strict=True))
    # Two false alarms, one, one and a miss, a miss, two misses; a score is called at its value.
    expected = {0: 2, 10: 2, 11: 1, 40: 1, 41: 4, 60: 4, 61: 3, 90: 3, 91: 6, 100: 6}
    assert {number: by_hundredth[number] * 4 for number in expected} == pytest.approx(expected)
    assert (found.chosen, found.cost) == (0.25, 0.25)
    assert found.least_at == pytest.approx(0.11)
    assert found.least == 0.25


def test_cost_at_the_threshold_in_use_is_not_taken_from_a_hundredth() -> None:
    target, probability = np.array([0.0, 1.0]), np.array([0.1, 0.331])
    found = cost_curve(target, probability, Decision(cost_false_positive=1, cost_false_negative=2))
    assert found.chosen == pytest.approx(1 / 3)
    assert found.cost == 1.0
    assert found.costs[33] == 0.0


@given(PAIRS, st.floats(0.1, 9), st.floats(0.1, 9))
@settings(deadline=None, derandomize=True)
def test_least_cost_is_below_every_other(
    pairs: list[tuple[int, float]], false_positive: float, false_negative: float
) -> None:
    target, probability = (np.array(v, dtype=np.float64) for v in zip(*pairs, strict=True))
    decision = Decision(cost_false_positive=false_positive, cost_false_negative=false_negative)
    found = cost_curve(target, probability, decision)
    assert found.least == min(found.costs) == found.costs[found.thresholds.index(found.least_at)]
    assert found.costs[0] == pytest.approx(false_positive * (1 - target.mean()))
    counts = confusion(target, probability, decision.threshold)
    total = false_positive * counts["false_positive"] + false_negative * counts["false_negative"]
    assert found.cost == pytest.approx(total / len(pairs))


@pytest.mark.parametrize(("positives", "majority"), [(30, 0.7), (80, 0.8)])
def test_baseline_tells_nothing_and_calls_everybody_the_same(
    positives: int, majority: float
) -> None:
    target = np.repeat([1.0, 0.0], [positives, 100 - positives])
    found = baseline(target, 0.5, seed=2)
    for side in ("value", "low", "high"):
        assert getattr(found["roc_auc"], side) == 0.5
    assert found["accuracy"].value == pytest.approx(majority)
    assert found["pr_auc"].value == pytest.approx(positives / 100)
    share = positives / 100
    entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert found["log_loss"].value == pytest.approx(entropy)
    assert found["calibration_error"].value == pytest.approx(0, abs=1e-9)


def test_baseline_holds_its_share_against_the_threshold_in_use() -> None:
    target = np.repeat([1.0, 0.0], [30, 70])
    assert baseline(target, 0.3, seed=2)["recall"].value == 1.0
    assert baseline(target, 0.31, seed=2)["recall"].value == 0.0


def scored(low: float, high: float = 0.95) -> dict[str, dict[str, float]]:
    return {"roc_auc": {"value": 0.9, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("out_of_fold", "test", "broken"),
    [
        (scored(0.85), scored(0.85), []),
        # The value of 0.9 reaches the floor, which might be chance.
        (scored(0.849), scored(0.9), ["roc_auc out of fold is at least 0.849, below 0.85"]),
        # The test rows are few: the upper end of their interval counts.
        (scored(0.86), scored(0.7, high=0.85), []),
        (
            scored(0.86),
            scored(0.7, high=0.84),
            ["roc_auc on the test rows is at most 0.840, below 0.85"],
        ),
        (
            scored(0.5),
            scored(0.5, high=0.5),
            [
                "roc_auc out of fold is at least 0.500, below 0.85",
                "roc_auc on the test rows is at most 0.500, below 0.85",
            ],
        ),
        (scored(math.nan), scored(0.9), ["roc_auc out of fold is at least nan, below 0.85"]),
        (
            scored(0.9),
            scored(0.9, high=math.nan),
            ["roc_auc on the test rows is at most nan, below 0.85"],
        ),
        ({}, scored(0.9), ["roc_auc: no such metric"]),
        (scored(0.9), {}, ["roc_auc: no such metric"]),
    ],
)
def test_floor_is_held_against_both_scores(
    out_of_fold: dict[str, dict[str, float]],
    test: dict[str, dict[str, float]],
    broken: list[str],
) -> None:
    assert broken_floors({"roc_auc": 0.85}, out_of_fold, test) == broken


def test_no_floors_are_not_broken() -> None:
    assert broken_floors({}, scored(0.1), scored(0.1)) == []
