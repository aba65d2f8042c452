"""The tests of a family, and of two shares, against scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control

from mlops_assets.lib.drift.discovery import adjusted, two_shares


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_agree_with_scipy(p: list[float]) -> None:
    assert adjusted(p) == pytest.approx(list(false_discovery_control(p, method="bh")))


def test_no_test_is_none_to_adjust() -> None:
    assert adjusted([]) == []


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(1, 50))
def test_two_shares_agree_with_scipy(a: int, b: int, c: int, d: int) -> None:
    wanted = chi2_contingency([[a, b], [c, d]], correction=False).pvalue
    assert two_shares((a, a + b), (c, c + d)) == pytest.approx(wanted)


def test_equal_shares_of_nothing_or_all_differ_in_nothing() -> None:
    assert two_shares((0, 5), (0, 7)) == two_shares((5, 5), (7, 7)) == 1.0
