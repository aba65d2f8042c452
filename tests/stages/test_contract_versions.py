"""A batch that landed under an earlier version of the contract, in the graph."""

from typing import Any

import dagster as dg

from mlops_assets.use_case import TabularClassifier
from tests.platform import DATA, Platform, checks

RENAMED = (DATA / "heart_cleveland.csv").read_text().replace("age,", "years,", 1)


def agreed(made: Platform, version: int, **earlier: Any) -> None:
    """Let the platform go on with another version of the contract."""
    spec = made.spec.model_dump(mode="json", exclude_unset=True)
    spec["contract"] |= {"version": version, "earlier": earlier}
    component = TabularClassifier.model_validate(spec)
    graph = component.build_defs(dg.ComponentTree.for_test().load_context)
    made.definitions = dg.Definitions(assets=graph.assets, resources=made.definitions.resources)


def validate(made: Platform, key: str) -> tuple[bool, str]:
    result = made.materialize("validated", partition_key=key)
    return checks(result)["validated/schema"]


def test_a_later_contract_migrates_earlier_batches_or_refuses_them(fresh: Platform) -> None:
    key = fresh.land(RENAMED, "renamed.csv")
    assert fresh.materialize("raw", partition_key=key).success
    passed, said = validate(fresh, key)
    assert not passed
    assert said.startswith("no column age; the file has years, sex")

    agreed(fresh, 2, renamed={"years": "age"})
    passed, said = validate(fresh, key)
    assert passed
    assert said == "14 columns; migrated from version 1: years is called age now"
    valid = fresh.batches.pointer(key, "validated") or {}
    assert (valid["rows"], valid["contract_version"]) == (303, 2)
    # Read once more, it is still a batch of version 1.
    assert fresh.materialize("raw", partition_key=key).success
    assert (fresh.batches.pointer(key, "raw") or {})["contract_version"] == 1
    assert validate(fresh, key)[0]

    agreed(fresh, 3, batches="refuse")
    passed, said = validate(fresh, key)
    assert not passed
    assert said == "landed under version 1; this contract takes from version 3 on"
    assert (fresh.batches.pointer(key, "validated") or {})["file"] is None


def test_a_batch_of_before_versions_were_recorded_keeps_its_own(fresh: Platform) -> None:
    key = fresh.land(RENAMED, "renamed.csv")
    assert fresh.materialize("raw", partition_key=key).success
    validate(fresh, key)
    landed = fresh.batches.pointer(key, "raw") or {}
    del landed["contract_version"]
    fresh.batches.point(key, "raw", landed)
    agreed(fresh, 2, renamed={"years": "age"})
    for _ in range(2):
        assert validate(fresh, key)[0]
    assert (fresh.batches.pointer(key, "raw") or {})["contract_version"] == 1
