import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.evaluation import (
    Slice,
    broken_floors,
    calibration_curve,
    confusion,
    slices,
    winner,
)
from mlops_assets.lib.spec import Gate
from mlops_assets.lib.statistics import Interval, with_intervals


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


def test_slices_are_told_apart_by_value() -> None:
    random = np.random.default_rng(1)
    target = (random.random(90) < 0.5).astype(np.float64)
    probability = random.random(90)
    target[:30] = 0  # only one class where the value is missing
    values: dict[str, list[Any]] = {"sex": [None] * 30 + [0, 1] * 30, "site": ["x"] * 90}
    found = slices(values, target, probability, 0.5, seed=3)
    assert [(s.column, s.value, s.rows) for s in found] == [
        ("sex", "0", 30),
        ("sex", "1", 30),
        ("sex", "not recorded", 30),
        ("site", "x", 90),
    ]
    assert sum(s.positives for s in found[:3]) == target.sum() == found[3].positives
    assert found[2].roc_auc is None
    women = np.array([v == 0 for v in values["sex"]])
    alone = with_intervals(target[women], probability[women], 0.5, seed=3)["roc_auc"]
    assert found[0].roc_auc == alone


def test_no_columns_give_no_slices() -> None:
    assert slices({}, np.array([0.0, 1.0]), np.array([0.1, 0.9]), 0.5, seed=1) == []


@pytest.mark.parametrize(
    ("rows", "interval", "behind"),
    [
        (40, Interval(0.7, 0.6, 0.79), True),
        (40, Interval(0.7, 0.6, 0.80), False),
        (40, Interval(0.7, 0.6, 0.85), False),
        (40, Interval(0.95, 0.9, 0.99), False),
        # Too small, or with one class only: shown and not judged.
        (39, Interval(0.1, 0.0, 0.2), False),
        (400, None, False),
    ],
)
def test_slice_falls_behind_when_its_whole_interval_does(
    rows: int, interval: Interval | None, behind: bool
) -> None:
    gate = Gate(slice_gap=0.125, slice_minimum_rows=40)
    assert Slice("sex", "0", rows, 20, interval).falls_behind(0.925, gate) == behind


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


def scored(value: float, high: float | None = None) -> dict[str, dict[str, float]]:
    return {"roc_auc": {"value": value, "low": 0.0, "high": value if high is None else high}}


@pytest.mark.parametrize(
    ("out_of_fold", "test", "broken"),
    [
        (scored(0.85), scored(0.9), []),
        (scored(0.9), scored(0.9), []),
        # The test rows are few: the upper end of their interval counts.
        (scored(0.9), scored(0.7, high=0.85), []),
        (scored(0.849), scored(0.9), ["roc_auc 0.849 out of fold is below 0.85"]),
        (
            scored(0.9),
            scored(0.7, high=0.84),
            ["roc_auc on the test rows is at most 0.840, below 0.85"],
        ),
        (
            scored(0.5),
            scored(0.5),
            [
                "roc_auc 0.500 out of fold is below 0.85",
                "roc_auc on the test rows is at most 0.500, below 0.85",
            ],
        ),
        (scored(math.nan), scored(0.9), ["roc_auc nan out of fold is below 0.85"]),
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
