from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.training.folds import DAY, Ties, folds


def outcome(rows: int, positives: int, seed: int = 0) -> Any:
    target = np.zeros(rows)
    target[:positives] = 1
    return np.random.default_rng(seed).permutation(target)


@pytest.mark.parametrize("count", [2, 5])
def test_folds_hold_out_each_row_once_and_both_classes(count: int) -> None:
    target = np.repeat([0.0, 1.0], [40, 10])
    found = folds(target, count, 3)
    assert len(found) == count
    assert sorted(row for _, unseen in found for row in unseen) == list(range(50))
    for seen, unseen in found:
        assert not set(seen) & set(unseen)
        assert target[unseen].sum() == 10 / count
    again, other = folds(target, count, 3), folds(target, count, 4)
    assert [list(u) for _, u in found] == [list(u) for _, u in again]
    assert [list(u) for _, u in found] != [list(u) for _, u in other]


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_group_is_never_on_both_sides_and_every_row_is_scored_once(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    group, target = random.integers(0, 60, 300), outcome(300, 60, seed)
    made = folds(target, count, 1, Ties(group=group))
    assert sorted(np.concatenate([unseen for _, unseen in made])) == list(range(300))
    for seen, unseen in made:
        assert not set(group[seen]) & set(group[unseen])
        assert len(seen) + len(unseen) == 300


def test_groups_share_out_rare_positives_evenly() -> None:
    group, target = np.arange(5000) // 5, outcome(5000, 50)
    for _, unseen in folds(target, 5, 7, Ties(group=group)):
        assert 8 <= target[unseen].sum() <= 12
        assert 900 <= len(unseen) <= 1100


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(0, 5))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_in_time_a_model_is_fitted_on_what_is_older_by_the_gap(
    seed: int, count: int, gap: int
) -> None:
    random = np.random.default_rng(seed)
    time, group = random.integers(0, 200, 600), random.integers(0, 300, 600)
    target = outcome(600, 300, seed)
    made = folds(target, count, 1, Ties(group, time, gap))
    scored = np.concatenate([unseen for _, unseen in made])
    assert len(scored) == len(set(scored))
    # One moment is in one block, so that blocks differ a little.
    assert abs(len(scored) / 600 - count / (count + 1)) < 0.05
    for seen, unseen in made:
        assert time[seen].max() < time[unseen].min() - gap
        assert not set(group[seen]) & set(group[unseen])
    newest = made[-1][1]
    assert time[newest].max() == time.max()


@pytest.mark.parametrize(
    ("target", "ties", "said"),
    [
        (np.zeros(50), Ties(), "0 rows of the rarer class cannot be shared out over 5 folds"),
        (np.ones(50), Ties(), "0 rows of the rarer class cannot be shared out over 5 folds"),
        (outcome(50, 3), Ties(), "3 rows of the rarer class cannot be shared out over 5 folds"),
        (outcome(50, 9), Ties(np.arange(50) % 4), "4 groups of rows cannot be shared out over 5"),
        (
            np.repeat([1.0, 0.0], [1, 49]),
            Ties(np.arange(50) // 5),
            "fold . of 5: the rows to fit on are 40, 0 of them positive: both classes are needed",
        ),
        (outcome(50, 9), Ties(time=np.arange(50) % 3), "3 moments cannot be shared out over 5"),
        (
            np.repeat([0.0, 1.0], [40, 10]),
            Ties(time=np.arange(50)),
            "fold 1 of 5: the rows to fit on are 8, 0 of them positive: both classes are needed",
        ),
        (
            outcome(60, 30),
            Ties(time=np.arange(60) * DAY, gap=30 * DAY),
            r"fold 1 of 5: the rows to fit on are 0, .* fewer folds or a shorter split.gap_days "
            r"\(30\): it scores the block of 1970-01-11 to 1970-01-20 by what is older than "
            r"1969-12-12, and the first row is of 1970-01-01",
        ),
    ],
)
def test_rows_that_cannot_be_shared_out_are_refused(target: Any, ties: Ties, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        folds(target, 5, 0, ties)
