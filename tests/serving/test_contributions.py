from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.bundle import contributions as module
from serving.bundle.contributions import contributions

Features = NDArray[np.float32]
Floats = NDArray[np.float64]
Predict = Callable[[Features], Floats]


def drawn(rows: int, features: int, seed: int) -> Features:
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def curved(rows: Features) -> Floats:
    """A model in which every feature depends on its neighbours."""
    x = rows.astype(np.float64)
    odds = x[:, 0] * np.roll(x, 1, axis=1)[:, 0] + np.sin(2 * x[:, -1]) + (x**2).sum(axis=1) / 9
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)


def terms(rows: Features) -> Floats:
    x = rows.astype(np.float64)
    return np.stack([x[:, 0] ** 2, -3 * x[:, 1], np.sin(x[:, 2])], axis=1)


def additive(rows: Features) -> Floats:
    return np.asarray(terms(rows).sum(axis=1), dtype=np.float64)


def product(rows: Features) -> Floats:
    return np.asarray(rows[:, 0].astype(np.float64) * rows[:, 1], dtype=np.float64)


def enumerated(predict: Predict, row: Features, background: Features) -> Floats:
    """Shapley values by their definition: every coalition of the other features, weighed."""
    features = len(row)

    def value(coalition: tuple[int, ...]) -> float:
        mixed = background.copy()
        mixed[:, coalition] = row[list(coalition)]
        return float(predict(mixed).mean())

    found = np.zeros(features)
    for feature in range(features):
        others = [other for other in range(features) if other != feature]
        for size in range(features):
            for coalition in combinations(others, size):
                gain = value((*coalition, feature)) - value(coalition)
                found[feature] += gain / (features * comb(features - 1, size))
    return found


@given(st.integers(0, 6), st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_contributions_add_up_to_the_move_from_the_usual_answer(
    rows: int, features: int, usual: int, seed: int
) -> None:
    explained, background = drawn(rows, features, seed), drawn(usual, features, seed + 1)
    found = contributions(curved, explained, background, seed)
    assert (found.shape, found.dtype) == ((rows, features), np.dtype(np.float64))
    moved = curved(explained) - curved(background).mean()
    np.testing.assert_allclose(found.sum(axis=1), moved, rtol=0, atol=1e-9)


def test_contributions_to_a_sum_are_its_terms() -> None:
    explained, background = drawn(12, 3, 1), drawn(16, 3, 2)
    found = contributions(additive, explained, background, 3)
    expected = terms(explained) - terms(background).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("features", [3, 4])
def test_many_walks_come_to_the_enumerated_values(features: int) -> None:
    explained, usual = 2 * drawn(3, features, 4), drawn(1, features, 5)
    found = contributions(curved, explained, np.repeat(usual, 4000, axis=0), 6)
    for row, values in zip(explained, found, strict=True):
        expected = enumerated(curved, row, usual)
        assert np.ptp(expected) > 0.05
        np.testing.assert_allclose(values, expected, rtol=0, atol=0.01)


def test_enumeration_of_two_features_needs_one_walk_and_its_way_back() -> None:
    explained, background = drawn(5, 2, 7), drawn(16, 2, 8)
    found = contributions(product, explained, background, 9)
    for row, values in zip(explained, found, strict=True):
        expected = enumerated(product, row, background)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)


def test_background_of_several_rows_is_their_mean() -> None:
    explained, background = drawn(2, 3, 10), drawn(4, 3, 11)
    found = contributions(curved, explained, np.repeat(background, 1500, axis=0), 12)
    for row, values in zip(explained, found, strict=True):
        expected = enumerated(curved, row, background)
        np.testing.assert_allclose(values, expected, rtol=0, atol=0.015)


def test_both_halves_of_an_interaction_get_the_same_credit() -> None:
    explained = np.full((1, 5), 2, dtype=np.float32)
    background = np.zeros((2000, 5), dtype=np.float32)
    (found,) = contributions(product, explained, background, 13)
    np.testing.assert_allclose(found[:2], 2.0, rtol=0, atol=0.15)
    np.testing.assert_array_equal(found[2:], 0)


@pytest.mark.parametrize("dummy", [0, 2, 4])
def test_feature_that_the_model_does_not_use_gets_exactly_nothing(dummy: int) -> None:
    def ignores(rows: Features) -> Floats:
        return curved(np.delete(rows, dummy, axis=1))

    found = contributions(ignores, drawn(6, 5, 14), drawn(20, 5, 15), 16)
    np.testing.assert_array_equal(found[:, dummy], 0)
    assert (np.delete(found, dummy, axis=1) != 0).all()


def test_row_that_is_the_background_has_no_contributions() -> None:
    row = drawn(1, 4, 17)
    found = contributions(curved, row, np.repeat(row, 16, axis=0), 18)
    np.testing.assert_array_equal(found, 0)


def test_missing_value_is_handed_to_the_model_as_it_is() -> None:
    def unrecorded(rows: Features) -> Floats:
        return np.isnan(rows[:, 1]).astype(np.float64)

    explained = drawn(2, 3, 19)
    explained[0, 1] = np.nan
    found = contributions(unrecorded, explained, drawn(16, 3, 20), 21)
    np.testing.assert_array_equal(found, [[0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("points", [1, 3 * 170, 4 * 170])
def test_chunks_of_any_size_give_the_same_contributions(
    points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained, background = drawn(9, 4, 22), drawn(17, 4, 23)
    whole = contributions(curved, explained, background, 24)
    asked: list[int] = []

    def counted(rows: Features) -> Floats:
        asked.append(len(rows))
        return curved(rows)

    monkeypatch.setattr(module, "CHUNK_POINTS", points)
    found = contributions(counted, explained, background, 24)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-12)
    assert len(asked) > 1
    assert max(asked) <= max(points, 2 * 17 * 5)


def test_model_is_asked_in_float32() -> None:
    def strict(rows: Features) -> Floats:
        assert rows.dtype == np.float32
        assert rows.shape[1] == 4
        return curved(rows)

    contributions(strict, drawn(3, 4, 25), drawn(16, 4, 26), 27)


def test_what_was_given_is_left_as_it_was() -> None:
    explained, background = drawn(3, 4, 28), drawn(16, 4, 29)
    before = explained.copy(), background.copy()
    contributions(curved, explained, background, 30)
    np.testing.assert_array_equal(explained, before[0])
    np.testing.assert_array_equal(background, before[1])


def test_same_seed_gives_the_same_and_another_seed_other_contributions() -> None:
    explained, background = drawn(3, 4, 31), drawn(16, 4, 32)
    one, again, other = (
        contributions(curved, explained, background, seed) for seed in (33, 33, 34)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_row_is_explained_alone_as_among_others() -> None:
    explained, background = drawn(5, 4, 35), drawn(16, 4, 36)
    together = contributions(curved, explained, background, 37)
    alone = contributions(curved, explained[3:4], background, 37)
    np.testing.assert_allclose(together[3:4], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "background"), [((2, 3), (16, 4)), ((2, 5), (16, 4)), ((2, 4), (0, 4))]
)
def test_shapes_that_do_not_fit_are_refused(
    rows: tuple[int, int], background: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match=f"{rows[1]} features against a background of"):
        contributions(curved, np.zeros(rows, np.float32), np.zeros(background, np.float32), 0)
