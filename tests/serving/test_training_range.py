"""An answer says which of its values training never saw the like of."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.bundle.contract import read_contract
from serving.bundle.manifest import BundleError
from serving.bundle.training_range import TrainingRange, read_training_range
from tests.serving.bundles import CONTRACT, PAYLOAD

CHECKED = read_contract(json.dumps(CONTRACT).encode(), "contract.json")
PROFILE: dict[str, Any] = {
    "columns": {
        "age": {"minimum": 29, "maximum": 77},
        "oldpeak": {"minimum": 0.0, "maximum": 6.2},
        "cp": {"shares": {"0": 0.5, "1": 0.2, "3": 0.3}},
        "region": {"shares": {"south": 1.0}},
    }
}


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ({}, []),
        ({"age": 29}, []),
        ({"age": 77}, []),
        ({"age": 28}, ["age"]),
        ({"age": 78}, ["age"]),
        ({"oldpeak": -0.1, "cp": 2}, ["oldpeak", "cp"]),
        ({"region": "north"}, ["region"]),
        # What is not recorded is no news, and neither is a column without a profile.
        ({"region": None, "chol": 700}, []),
    ],
)
def test_what_training_never_saw_is_named(changes: dict[str, Any], columns: list[str]) -> None:
    row = CHECKED.validate_row({**PAYLOAD, **changes})
    warnings = TrainingRange(PROFILE, CHECKED).warnings(row)
    assert [warned.column for warned in warnings] == columns
    # The message has the limits, and never the value.
    assert all("29 to 77" in w.message for w in warnings if w.column == "age")


def test_a_profile_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text('{"columns": {"age": {"minimum": "low", "maximum": 3}}}')
    with pytest.raises(BundleError, match="not a profile"):
        read_training_range(path, CHECKED)
