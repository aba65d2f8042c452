"""The spec's ``rollout``: which steps make sense."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlops_assets.lib.spec.rollout import Rollout


def test_a_rollout_without_steps_is_the_default() -> None:
    assert Rollout().steps == []


def test_steps_say_who_they_are() -> None:
    steps = [{"shadow": 100, "minutes": 10}, {"canary": 2.5, "minutes": 0.5}]
    found = Rollout.model_validate({"steps": steps}).steps
    assert [(str(s), s.role, s.percent, s.seconds) for s in found] == [
        ("shadow 100 %", "shadow", 100, 600),
        ("canary 2.5 %", "challenger", 2.5, 30),
    ]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"minutes": 1}], "either shadow or canary"),
        ([{"shadow": 1, "canary": 1, "minutes": 1}], "either shadow or canary"),
        ([{"canary": 100, "minutes": 1}], "less than 100"),
        ([{"canary": 10, "minutes": 0}], "greater than 0"),
        ([{"canary": 50, "minutes": 1}, {"canary": 10, "minutes": 1}], "must rise, found 50, 10"),
        ([{"canary": 50, "minutes": 1}, {"shadow": 10, "minutes": 1}], "shadow after a canary"),
        ([{"canary": 10, "seconds": 10, "minutes": 1}], "seconds"),
    ],
)
def test_steps_that_make_no_sense_are_named(steps: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rollout.model_validate({"steps": steps})
