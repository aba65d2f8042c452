"""Chi-squared and Jensen-Shannon against scipy on the same values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from mlops_assets.lib.drift.categories import EXPECTED, chi_squared, jensen_shannon
from tests.lib.drift.helpers import measured

COUNTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6)


@given(COUNTS)
@settings(max_examples=200, deadline=None)
def test_counts_agree_with_scipy(counts: list[tuple[int, int]]) -> None:
    table = np.array(counts).T
    if not table.sum(axis=1).all():
        return
    assert jensen_shannon(*table) == pytest.approx(jensenshannon(*table), abs=1e-7)
    statistic, degrees = chi_squared(*table)
    there = table[:, table.sum(axis=0) > 0]
    expected = there.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    if (expected >= EXPECTED).all() and there.shape[1] > 1:
        wanted = chi2_contingency(there, correction=False)
        assert statistic == pytest.approx(wanted.statistic)
        assert degrees == wanted.dof
    else:
        # What is rare was pooled: fewer values, and less of a difference.
        assert degrees < max(there.shape[1], 2)
        whole = chi2_contingency(there, correction=False).statistic if there.shape[1] > 1 else 0
        assert statistic <= whole + 1e-9


def test_rare_values_are_pooled() -> None:
    # Three that are rare are one together; one that is rare alone joins the rarest other.
    assert chi_squared(*np.array([[90, 80, 4, 4, 3], [90, 80, 3, 4, 3]]))[1] == 2
    wanted = chi2_contingency([[100, 42], [60, 80]], correction=False).statistic
    statistic, degrees = chi_squared(*np.array([[100, 40, 2], [60, 80, 0]]))
    assert statistic == pytest.approx(wanted)
    assert degrees == 1


def test_values_are_counted_by_what_they_mean() -> None:
    found = measured([1, 1, 2, None] * 50, [1.0, 2.0, 2.0, None] * 50, numeric=False)
    assert found.missing == (0.25, 0.25)
    assert found.new == {}
    assert found.p_value == pytest.approx(
        chi2_contingency([[100, 50], [50, 100]], correction=False).pvalue
    )


def test_a_new_value_is_named_with_its_share() -> None:
    found = measured(["a"] * 60 + ["b"] * 40, ["a"] * 60 + ["c'\""] * 40, numeric=False)
    assert found.new == {"c'\"": 0.4}
    assert found.effects["stability_index"] > 1


def test_values_that_are_all_different_are_one() -> None:
    found = measured([f"r{n}" for n in range(3000)], [f"c{n}" for n in range(300)], numeric=False)
    assert found.test is None or found.p_value is not None


def test_one_value_is_no_test() -> None:
    assert measured(["a"] * 50, ["a"] * 60, numeric=False).test is None
    assert measured([True] * 50, [None] * 60, numeric=False).note == "there are no values"
