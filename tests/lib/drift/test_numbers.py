"""Kolmogorov-Smirnov and Wasserstein against scipy on the same numbers."""

import math
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, wasserstein_distance

from mlops_assets.lib.drift import grid
from mlops_assets.lib.drift.grid import grids
from mlops_assets.lib.drift.numbers import difference
from mlops_assets.lib.drift.sides import Pair
from tests.lib.drift.helpers import column, measured, sides

# Ties, neighbours in floating point, both zeros and values far apart.
FEW = st.sampled_from([-1e9, -1.5, -0.0, 0.0, 1.0, np.nextafter(1.0, 2.0), 2.0, 1e-300, 7e8])
VALUES = st.lists(st.none() | FEW | st.floats(-1e6, 1e6), min_size=1, max_size=40)


def scipys(x: Any, y: Any) -> Any:
    """The statistic and the asymptotic p-value, without scipy's warning of very few values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return ks_2samp(x, y, method="asymp")


def present(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@given(VALUES, VALUES)
@settings(max_examples=50, deadline=None)
def test_small_sides_agree_with_scipy(a: list[float | None], b: list[float | None]) -> None:
    found = measured(pa.array(a, pa.float64()), pa.array(b, pa.float64()))
    assert found.missing == (a.count(None) / len(a), b.count(None) / len(b))
    x, y = present(a), present(b)
    if not x or not y or len({*x, *y}) == 1:
        assert found.test is None
        assert found.note
        return
    expected = scipys(x, y)
    assert found.figures["statistic"] == pytest.approx(expected.statistic, abs=1e-12)
    assert found.figures["statistic_error"] == 0
    if len(x) > 1 and len(y) > 1:  # with one value scipy's law has no rows
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.figures["wasserstein"] == pytest.approx(wasserstein_distance(x, y), rel=1e-9)
    # Values may differ by so little that the square of it is 0.
    deviation = np.std(x) if len(set(x)) > 1 else 0.0
    if deviation > 0:
        shift = wasserstein_distance(x, y) / deviation
        assert found.figures["shift"] == pytest.approx(shift, rel=1e-6)
    else:
        assert "shift" not in found.figures
    if len(set(x)) == 1:
        assert found.figures["stability_index"] > 0


@given(VALUES, VALUES)
# Two neighbours among the numbers.
@example([0.0], [None, None, None, 1.0, 1.0000000000000002])
@settings(max_examples=40, deadline=None)
def test_large_sides_agree_within_the_error_that_they_name(
    a: list[float | None], b: list[float | None]
) -> None:
    x, y = present(a), present(b)
    with pytest.MonkeyPatch.context() as patch:
        # What takes millions of rows otherwise: a sample of 4, and 3 quantiles of it.
        patch.setattr(grid, "FEW_ROWS", 4)
        patch.setattr(grid, "LEVELS", 3)
        patch.setattr(grid, "TAIL", 1)
        tables = [{"x": pa.array(side, pa.float64())} for side in (a, b)]
        with sides(*tables) as database:
            (counted,) = grids(database, Pair("reference", "current", []), [column()])
    assert (counted.reference.values, counted.current.values) == (len(x), len(y))
    assert counted.reference.missing == a.count(None)
    if not x or not y:
        return
    assert counted.reference.mean == pytest.approx(np.mean(x), rel=1e-9, abs=1e-6)
    found = difference(counted)
    exact = scipys(x, y).statistic
    assert found.statistic <= exact + 1e-12
    assert exact <= found.statistic + found.statistic_error + 1e-12
    gaps = np.diff(counted.points)
    loose = sum(side.counts[2:-1:2] / side.values for side in (counted.reference, counted.current))
    error = float((gaps * loose).sum()) + 1e-6
    assert found.wasserstein == pytest.approx(wasserstein_distance(x, y), abs=error)


def test_many_rows_are_known_within_a_thousandth() -> None:
    random = np.random.default_rng(3)
    x, y = random.lognormal(size=40_000), random.lognormal(0.1, size=60_000)
    found = measured(x, y).figures
    exact = scipys(x, y).statistic
    assert 0 <= exact - found["statistic"] <= found["statistic_error"] < 2.5e-3
    assert found["wasserstein"] == pytest.approx(wasserstein_distance(x, y), rel=1e-2)


def test_one_small_side_makes_the_statistic_exact() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=30_000), random.normal(0.3, size=200)
    found = measured(x, y).figures
    assert found["statistic_error"] == 0
    assert found["statistic"] == pytest.approx(scipys(x, y).statistic, abs=1e-12)


def test_what_is_no_number_is_missing() -> None:
    found = measured(np.array([1.0, 2.0, math.nan, math.inf]), np.array([1.0, 2.0, 2.5, 3.0]))
    assert found.missing == (0.5, 0)
    texts: Any = ["1", "two", "3", None]
    assert measured(texts, texts).missing == (0.5, 0.5)


def test_the_stability_index_is_that_of_deciles() -> None:
    reference = np.repeat(np.arange(10.0), 100)
    current = np.repeat(np.arange(10.0), np.arange(10, 200, 20))
    found = measured(reference, current).figures["stability_index"]
    r, c = np.full(10, 0.1), np.arange(10, 200, 20) / 1000
    assert found == pytest.approx(((c - r) * np.log(c / r)).sum(), rel=0.02)
    # A value that most rows have is a bin of its own: what leaves it is seen on both sides of it.
    constant = np.zeros(1000)
    down, up = (np.where(np.arange(1000) < 300, sign, 0.0) for sign in (-1.0, 1.0))
    by_side = [measured(constant, side).figures["stability_index"] for side in (down, up)]
    assert by_side[0] == by_side[1] > 1
