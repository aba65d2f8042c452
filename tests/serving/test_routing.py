import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.roles.routing import place

KEYS = 40_000


@pytest.mark.parametrize("percent", [1.0, 10.0, 50.0])
def test_a_share_is_what_was_asked_for(percent: float) -> None:
    chosen = sum(place("salt", "churn challenger", str(key)) < percent for key in range(KEYS))
    share = percent / 100
    # Five standard errors: fails for one salt in a million.
    assert abs(chosen / KEYS - share) < 5 * math.sqrt(share * (1 - share) / KEYS)


def test_two_splits_choose_apart() -> None:
    both = sum(
        place("salt", "a challenger", str(key)) < 50 and place("salt", "a shadow", str(key)) < 50
        for key in range(KEYS)
    )
    assert both / KEYS == pytest.approx(0.25, abs=0.02)


@given(st.text(), st.text(), st.text(st.characters(codec=None)))
def test_a_place_is_fixed_and_below_100(salt: str, purpose: str, key: str) -> None:
    found = place(salt, purpose, key)
    assert 0 <= found < 100
    assert place(salt, purpose, key) == found


def test_a_place_does_not_change_between_versions_of_the_server() -> None:
    # Another hash would send every entity to another version in the middle of a canary.
    found = place("salt", "churn challenger", "customer-1")
    assert found == pytest.approx(39.11369442712616, abs=1e-9)
