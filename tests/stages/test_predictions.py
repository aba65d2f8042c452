"""Batch scores in the graph, beside the answers of a real serving process."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.records import desired_state
from tests.platform import HEART, Platform, checks, platform
from tests.serving.server import Server


@pytest.fixture
def crowned(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """A copy of the trained platform whose version was promoted."""
    shutil.copytree(trained.home / "storage", tmp_path / "storage")
    with platform(tmp_path) as made:
        made.instance.add_dynamic_partitions(f"{HEART}_batches", made.batches.keys())
        approved = made.ledger.entries()[-1]
        facts = {k: approved[k] for k in ("version", "bundle", "path", "training_set", "wanted")}
        made.ledger.append("promoted", facts)
        yield made


def scored(made: Platform) -> dg.ExecuteInProcessResult:
    return made.run("score", partition_key=made.batches.keys()[0])


def predictions(made: Platform) -> pl.DataFrame:
    pointer = made.batches.pointer(made.batches.keys()[0], "predictions")
    assert pointer is not None
    paths = [
        made.store.verified(f"{pointer['folder']}/{name}", digest)
        for name, digest in pointer["parts"].items()
    ]
    return pl.concat(pl.read_parquet(path) for path in paths)


def test_a_batch_is_scored_with_the_numbers_of_the_api(crowned: Platform) -> None:
    result = scored(crowned)
    assert result.success
    assert checks(result)["predictions/row_count"] == (True, "303 scores for 303 valid rows")
    made = predictions(crowned)
    (key,) = crowned.batches.keys()
    valid = crowned.batches.pointer(key, "validated")
    assert valid is not None
    rows = pl.read_parquet(crowned.store.local(valid["file"]))
    assert made["row_id"].to_list() == rows["row_id"].to_list()

    entry = crowned.ledger.entries()[-1]
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    desired_state.write(crowned.store, HEART, "dev", {"champion": {**role, "percent": 100}})
    names = [column.name for column in crowned.spec.contract.inputs]
    server = Server(Path(crowned.store.root))
    try:
        server.wait_for(entry["version"])
        answers: list[dict[str, Any]] = [
            server.predict(row).json() for row in rows.select(names).to_dicts()
        ]
    finally:
        assert server.stop() == 0
    # ONNX Runtime adds up many rows in another order than one: the last bits of a float32 differ.
    expected = [answer["probability"] for answer in answers]
    assert made["probability"].to_list() == pytest.approx(expected, abs=1e-6)
    assert made["label"].to_list() == [answer["class"] for answer in answers]
    assert set(made["bundle"]) == {answers[0]["digest"]}
    assert set(made["version"]) == {entry["version"]}

    # Once more: the same state, nothing computed.
    again = scored(crowned)
    event = again.asset_materializations_for_node(f"{HEART}__predictions")[0]
    assert event.metadata["parts of an earlier run"].value == 1


def test_without_a_champion_it_says_what_is_missing(trained: Platform) -> None:
    result = scored(trained)
    assert not result.success
    (failure,) = (e for e in result.all_events if e.is_step_failure)
    assert "has no champion to score with" in str(failure.step_failure_data.error)


def test_a_champion_of_another_contract_is_named(crowned: Platform) -> None:
    (key,) = crowned.batches.keys()
    valid = crowned.batches.pointer(key, "validated")
    assert valid is not None
    path = crowned.store.local(f"{HEART}/validated/other.parquet")
    pl.read_parquet(crowned.store.local(valid["file"])).drop("thal").write_parquet(path)
    changed = {"file": f"{HEART}/validated/other.parquet", "digest": file_digest(path)}
    crowned.batches.point(key, "validated", {**valid, **changed})
    result = scored(crowned)
    (failure,) = (e for e in result.all_events if e.is_step_failure)
    assert "version 1 reads thal" in str(failure.step_failure_data.error)
