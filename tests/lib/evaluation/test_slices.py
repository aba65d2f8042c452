from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.slices import MOST_VALUES, Gap, Groups, Slice, groups, slices
from mlops_assets.lib.spec.gate import Gate

Floats = NDArray[np.float64]


def told(values: list[Any], kind: pa.DataType | None = None) -> list[str]:
    """The name of the group of each value."""
    found = groups(pa.chunked_array([pa.array(values, kind)]))
    return [found.names[code] for code in found.codes]


def test_values_are_groups_and_so_is_none() -> None:
    assert told(["b", None, "a", "b"]) == ["b", "not recorded", "a", "b"]
    assert told([True, False, None]) == ["true", "false", "not recorded"]


def test_rare_values_of_many_are_one_group() -> None:
    common = [f"v{number:02}" for number in range(MOST_VALUES)] * 2
    found = told([*common, "rare", "rarer"])
    assert found[:-2] == common
    assert found[-2:] == ["other values"] * 2


def test_numbers_are_cut_at_their_quartiles() -> None:
    found = told([*range(1, 9), None])
    names = ["at most 2", "above 2 to 4", "above 4 to 6", "above 6", "not recorded"]
    assert found == [names[0]] * 2 + [names[1]] * 2 + [names[2]] * 2 + [names[3]] * 2 + [names[4]]
    # Several quartiles are one value where most rows have it.
    assert set(told([0.0] * 80 + [1.5] * 20)) == {"at most 0", "above 0"}
    assert told([None, None], pa.float64()) == ["not recorded"] * 2
    days = [datetime(2026, 1, day) for day in range(1, 5)]
    assert told(days, pa.timestamp("us"))[0] == "at most 2026-01-01 00:00:00"


def sample(
    rows: int, count: int, random: np.random.Generator
) -> tuple[Floats, Floats, dict[str, Groups]]:
    """Well calibrated scores that have nothing to do with the groups."""
    probability = random.beta(1.2, 1.8, rows)
    target = (random.random(rows) < probability).astype(np.float64)
    named = [f"g{number}" for number in range(count)]
    return target, probability, {"group": Groups(named, random.integers(count, size=rows))}


def test_a_slice_is_held_against_the_rest() -> None:
    random = np.random.default_rng(1)
    target, probability, by_column = sample(600, 3, random)
    found = slices(by_column, target, probability, 0.5, 40)
    assert [each.value for each in found] == ["g0", "g1", "g2"]
    assert sum(each.rows for each in found) == 600
    assert sum(each.positives for each in found) == target.sum()
    mine = by_column["group"].codes == 1
    for rate, outcome in (("true_positive_rate", 1), ("false_positive_rate", 0)):
        gap = found[1].gaps[rate]  # type: ignore[index]
        of = [(probability >= 0.5)[side & (target == outcome)].mean() for side in (mine, ~mine)]
        assert [gap.of_slice, gap.of_rest] == pytest.approx(of)
        assert gap.difference.value == pytest.approx(of[0] - of[1])
        assert gap.difference.low < gap.difference.value < gap.difference.high


def test_a_fair_model_with_many_small_slices_is_not_called_unfair() -> None:
    # Nothing is allowed here, so that every alarm is by chance; limits above 0 make them rarer.
    nothing = Gate(slice_gap=0, slice_recall_gap=0, slice_false_alarm_gap=0, slice_minimum_rows=20)
    random, alarms, naive = np.random.default_rng(5), 0, 0
    for _ in range(150):
        target, probability, by_column = sample(2000, 20, random)
        looked = slices(by_column, target, probability, 0.4, 20)
        assert sum(each.judged for each in looked) == 20
        alarms += any(each.falls_behind(nothing) for each in looked)
        gaps = [gap for each in looked for gap in each.gaps.values()]
        naive += any(abs(gap.difference.value) > 0.1 for gap in gaps)
    assert alarms / 150 <= 0.05
    assert naive / 150 > 0.9  # what a limit on the bare gap would do


def test_a_planted_gap_is_found_and_named() -> None:
    random = np.random.default_rng(6)
    target, probability, by_column = sample(3000, 20, random)
    hurt = by_column["group"].codes == 7
    probability[hurt] = random.permutation(probability[hurt])
    found = slices(by_column, target, probability, 0.4, 40)
    behind = {each.value: each.falls_behind(Gate()) for each in found}
    assert behind.pop("g7") == ["roc_auc"]
    assert not any(behind.values())


@pytest.mark.parametrize(
    ("measure", "difference", "worse"),
    [
        ("roc_auc", Interval(-0.3, -0.4, -0.11), True),
        ("roc_auc", Interval(-0.3, -0.4, -0.10), False),
        ("roc_auc", Interval(0.3, 0.2, 0.4), False),
        ("true_positive_rate", Interval(-0.3, -0.4, -0.21), True),
        ("true_positive_rate", Interval(-0.3, -0.4, -0.19), False),
        # More false alarms are worse, fewer are not.
        ("false_positive_rate", Interval(0.3, 0.21, 0.4), True),
        ("false_positive_rate", Interval(0.3, 0.19, 0.4), False),
        ("false_positive_rate", Interval(-0.5, -0.6, -0.4), False),
    ],
)
@pytest.mark.parametrize("judged", [True, False])
def test_a_slice_is_worse_with_its_whole_interval(
    measure: Any, difference: Interval, worse: bool, judged: bool
) -> None:
    found = Slice("sex", "0", 100, 40, judged, {measure: Gap(0.5, 0.5, difference)})
    assert found.falls_behind(Gate()) == ([measure] if worse and judged else [])


def test_what_cannot_be_compared_is_left_out() -> None:
    target = np.array([0.0] * 30 + [1.0] * 30)
    of = {
        "c": Groups(["none ill", "all ill"], np.repeat([0, 1], 30)),
        "d": Groups(["x"], np.zeros(60, int)),
    }
    found = slices(of, target, np.linspace(0, 1, 60), 0.5, 20)
    assert [(each.value, each.judged, list(each.gaps)) for each in found] == [
        ("none ill", True, []),
        ("all ill", True, []),
        # There is no rest.
        ("x", False, []),
    ]
    assert slices({}, target, target, 0.5, 20) == []
