"""Two kills of the twenty-one of ``python -m tests.recovery.decisions``."""

from pathlib import Path

import pytest

from tests.platform import Platform
from tests.recovery.decisions import POINTS, killed


@pytest.mark.parametrize(
    ("what", "point"), [("rollout", "after the alias"), ("rollback", "after the desired state")]
)
def test_a_kill_leaves_nothing_that_disagrees(
    trained: Platform, tmp_path: Path, what: str, point: str
) -> None:
    assert sum(map(len, POINTS.values())) == 21
    killed(what, point, trained, tmp_path)
