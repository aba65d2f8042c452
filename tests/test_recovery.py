"""A batch meets a kill at every named point, and comes out as one that met none.

The short form of ``make faults``, which kills everything at each point, on a state of its own, and
the demo at random times. Here the run is killed, and half-way everything else.
"""

from pathlib import Path

import pytest

from tests.recovery.points import POINTS
from tests.recovery.survival import outcome, survive

STEPS = ["approved", "rolling_out", "promoted"]
pytestmark = pytest.mark.timeout(2400)


def test_kills_at_every_point_change_nothing(tmp_path: Path) -> None:
    assert survive(tmp_path / "unharmed", []) == []
    wanted = outcome(tmp_path / "unharmed")
    assert [decision for decision, _ in wanted["decisions"]] == STEPS
    assert wanted["versions"] == [(1,)]
    assert wanted["aliases"] == [("challenger", 1), ("champion", 1)]
    assert wanted["unfinished"] == []
    assert wanted["running in MLflow"] == 0

    assert survive(tmp_path / "killed", list(POINTS), [len(POINTS) // 2]) == sorted(POINTS)
    assert outcome(tmp_path / "killed") == wanted
