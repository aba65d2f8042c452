"""A later contract takes earlier batches under their present names, or says that it does not."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.validation.migration import migration
from tests.lib.helpers import column

COLUMNS = [
    column("age", "integer", minimum=0, maximum=120),
    column("smoker", "boolean", nullable=True),
    column("region", "category", allowed=["north", "south"]),
]
RENAMED = {"years": "age"}
DEFAULTS = {"region": "south", "smoker": None}


def contract(version: int = 3, **earlier: Any) -> Contract:
    return Contract.model_validate(
        {"version": version, "target": Target(column="ill"), "columns": COLUMNS, "earlier": earlier}
    )


def test_an_earlier_batch_gets_the_present_columns(tmp_path: Path) -> None:
    raw = tmp_path / "it's raw.parquet"
    pl.DataFrame({"_row": [1, 2], "years": ["40", "50"], "ill": ["0", "1"]}).write_parquet(raw)
    landed = {"columns": ["years", "ill"], "contract_version": 2}
    found = migration(contract(renamed=RENAMED, defaults=DEFAULTS), landed)
    assert found.refused is None
    assert found.columns == ["age", "ill", "region", "smoker"]
    assert found.said == (
        "migrated from version 2: years is called age now, region is 'south', smoker is absent"
    )
    with found.applied(raw) as path:
        assert pl.read_parquet(path).to_dicts() == [
            {"_row": 1, "age": "40", "ill": "0", "region": "south", "smoker": None},
            {"_row": 2, "age": "50", "ill": "1", "region": "south", "smoker": None},
        ]
    assert not path.exists()


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    agreed = contract(renamed=RENAMED, defaults=DEFAULTS)
    whole = ["age", "years", "smoker", "region", "ill"]
    # A batch of the present version is not touched, nor one that has the present names already.
    for landed in (
        {"columns": ["years", "ill"], "contract_version": 3},
        {"columns": whole, "contract_version": 1},
    ):
        found = migration(agreed, landed)
        assert (found.columns, found.said) == (landed["columns"], "")
        with found.applied(tmp_path / "raw.parquet") as path:
            assert path == tmp_path / "raw.parquet"


def test_earlier_batches_can_be_refused() -> None:
    refused = contract(batches="refuse")
    old, new = ({"columns": ["age"], "contract_version": version} for version in (2, 3))
    assert migration(refused, old).refused == (
        "landed under version 2; this contract takes from version 3 on"
    )
    assert migration(refused, new).refused is None


@pytest.mark.parametrize(
    ("earlier", "said"),
    [
        ({"batches": "refuse", "renamed": RENAMED}, "have nothing renamed or filled"),
        ({"renamed": {"age": "smoker"}}, "the first is a header of before"),
        ({"renamed": {"years": "nothing"}}, "'years' to 'nothing'"),
        ({"renamed": {"a": "age", "b": "age"}}, "age: renamed or filled twice"),
        ({"renamed": RENAMED, "defaults": {"age": 1}}, "age: renamed or filled twice"),
        ({"defaults": {"nothing": 1}}, "'nothing' is not an input of the model"),
        ({"defaults": {"ill": 1}}, "'ill' is not an input of the model"),
        ({"defaults": {"age": None}}, "column 'age' is not nullable"),
        ({"defaults": {"age": 500}}, "must be at most 120; got 500"),
        ({"defaults": {"region": "west"}}, "must be one of"),
    ],
)
def test_a_migration_that_cannot_be_is_refused(earlier: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        contract(**earlier)


def test_a_first_version_has_no_earlier_one() -> None:
    with pytest.raises(ValidationError, match="version 1 has no earlier version"):
        contract(1, batches="refuse")


def test_only_what_is_said_of_earlier_batches_changes_the_digest() -> None:
    plain = Contract(version=3, target=Target(column="ill"), columns=COLUMNS)
    assert contract().digest == plain.digest
    assert contract(batches="refuse").digest != plain.digest
