"""Quarantined rows can be read, and come back once the contract was corrected."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.lib.personal_data import key_proof
from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, pseudonym
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import raw, validated
from tests.platform import checks

ROWS = (
    "customer,name,age,outcome\n"
    "no-1,Anna,63,1\nno-2,Bert,64,0\nno-3,Carl,119,1\nno-1,Dora,65,0\nno-4,Emil,66,0,Emil\n"
    "no-5,Fred,67,0\n"
)


def spec(highest: int = 110, **changes: Any) -> UseCase:
    def text(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": "text", "description": "D.", **more}

    age = {"name": "age", "type": "integer", "description": "D.", "maximum": highest}
    contract = {
        "version": 1,
        "target": {"column": "outcome"},
        "columns": [text("customer", pii="hash"), text("name", pii="drop"), age],
        "entity": "customer",
        "key": ["customer"],
    }
    return UseCase.model_validate(
        {
            "name": "people",
            "title": "People.",
            "description": "People.",
            "owners": ["team:one"],
            "contract": contract | changes,
            "quality": {"quarantined": {"warn": 0, "block": 0.1}},
            "training": {"candidates": {"logistic_regression": {}}},
        }
    )


class Place:
    """A use case that is only ingested, on a folder of its own."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home = home
        self.instance = instance
        self.batches = Batches(Storage(home / "storage"), "people")

    def land(self, text: str = ROWS) -> str:
        file = self.home / "people.csv"
        file.write_text(text)
        self.batches.land(file)
        file.unlink()
        self.batches.look(time.time() + 10)
        key = self.batches.keys()[0]
        self.instance.add_dynamic_partitions("people_batches", [key])
        return key

    def ingest(self, key: str, agreed: UseCase) -> dg.ExecuteInProcessResult:
        partitions = dg.DynamicPartitionsDefinition(name="people_batches")
        built = [stage.build(agreed, partitions) for stage in (raw, validated)]
        assets = [asset for each in built for asset in each.assets or []]
        return dg.materialize(
            assets,
            partition_key=key,
            instance=self.instance,
            resources={"storage": StorageRoot(root=str(self.home / "storage"))},
            raise_on_error=False,
        )

    def rows(self, key: str, what: str = "file") -> pl.DataFrame:
        pointer = self.batches.pointer(key, "validated")
        assert pointer is not None
        return pl.read_parquet(self.batches.storage.local(pointer[what]))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv(KEY_VARIABLE, "sixteen characters and more")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Place(tmp_path, instance)


def test_a_refused_batch_shows_its_quarantine_and_what_to_do(place: Place) -> None:
    key = place.land()
    result = place.ingest(key, spec())
    assert not result.success
    found = checks(result)
    assert not found["validated/ranges"][0]
    assert found["validated/key"] == (True, "1 of 6 rows (16.7%) repeat a key")
    assert found["quarantine/empty"] == (False, "3 of 6 rows are in quarantine")
    (event,) = result.asset_materializations_for_node("people__validated")[1:]
    shown = {name: str(value.value) for name, value in event.metadata.items()}
    assert (
        "| age: outside its range | 1 | age: 119 is outside unbounded to 110 |" in shown["reasons"]
    )
    assert "repeats the key of an earlier row: row 1 (customer)" in shown["rows"]
    assert "line 6: 5 fields where the header has 4" in shown["rows"]
    assert "come back by themselves" in shown["what to do"]


def test_nothing_personal_is_left_anywhere_and_the_landed_file_goes(place: Place) -> None:
    key = place.land()
    place.ingest(key, spec())
    said = str([place.instance.all_logs(run.run_id) for run in place.instance.get_runs()])
    receipt = place.batches.receipt(key)
    assert receipt is not None
    assert not Path(receipt.path).exists()
    kept = [path for path in place.home.rglob("*") if path.is_file()]
    texts = [str(pl.read_parquet(p).to_dicts()) for p in kept if p.suffix == ".parquet"]
    texts += [path.read_text() for path in kept if path.suffix == ".json"]
    for name in ("Anna", "Carl", "Emil", "no-1", "sixteen"):
        assert not any(f"'{name}" in text or f'"{name}' in text for text in [*texts, said])


def test_quarantined_rows_come_back_after_the_contract_was_widened(place: Place) -> None:
    key = place.land()
    place.ingest(key, spec())
    assert place.rows(key, "quarantine")["_row"].to_list() == [3, 4, 5]
    wider = spec(highest=120, version=2)
    landed, before = (place.batches.pointer(key, stage) for stage in ("raw", "validated"))
    assert landed is not None
    assert before is not None
    # This is what makes the landing sensor ask for the batch again.
    assert before["input"] != validated.input_digest(wider, landed["digest"])
    found = checks(place.ingest(key, wider))
    assert (
        "the landed file is gone; what was read of it before is used again"
        in (found["raw/readable"][1])
    )
    assert place.rows(key)["age"].to_list() == [63, 64, 119, 67]
    assert place.rows(key, "quarantine")["_row"].to_list() == [4, 5]
    assert place.batches.pointer(key, "raw") == landed


def test_a_column_named_later_needs_the_file_once_more(place: Place) -> None:
    text = "customer,name,age,outcome,extra\nno-1,Anna,63,1,7\nno-2,Bert,64,0,8\n"
    first = spec()
    columns = [c.model_dump(exclude_unset=True) for c in first.contract.columns]
    extra = {"name": "extra", "type": "integer", "description": "D."}
    later = spec(columns=[*columns, extra], version=2)
    key = place.land(text)
    place.ingest(key, first)
    found = checks(place.ingest(key, later))
    assert "no column extra" in found["validated/schema"][1]
    assert "land the file again" in found["validated/schema"][1]
    receipt, pointer = place.batches.receipt(key), place.batches.pointer(key, "raw")
    assert receipt is not None
    assert pointer is not None
    assert not raw.is_outdated(later, place.batches, receipt, pointer)
    place.land(text)
    assert raw.is_outdated(later, place.batches, receipt, pointer)
    assert checks(place.ingest(key, later))["validated/schema"][0]
    # Landed once more it is only removed.
    place.land(text)
    assert raw.forget_landed(later, place.batches, receipt)
    assert not Path(receipt.path).exists()


def test_a_kill_before_the_removal_is_made_good(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.land()
    with monkeypatch.context() as patch:
        patch.setattr(raw, "forget_landed", lambda *_: 1 / 0)
        assert not place.ingest(key, spec()).success
    receipt, pointer = place.batches.receipt(key), place.batches.pointer(key, "raw")
    assert receipt is not None
    assert Path(receipt.path).exists()
    place.ingest(key, spec())
    assert not Path(receipt.path).exists()
    assert place.batches.pointer(key, "raw") == pointer
    assert pointer is not None
    assert not raw.is_outdated(spec(), place.batches, receipt, pointer)


def test_without_a_key_nothing_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.land()
    monkeypatch.delenv(KEY_VARIABLE)
    result = place.ingest(key, spec())
    assert not result.success
    assert KEY_VARIABLE in str([event.event_specific_data for event in result.all_events])
    assert not place.batches.storage.exists("people/raw")


def test_another_key_is_refused_until_the_data_are_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.land()
    place.ingest(key, spec())
    receipt, before = place.batches.receipt(key), place.batches.pointer(key, "raw")
    assert receipt is not None
    assert before is not None
    other = "another key of sixteen characters"
    monkeypatch.setenv(KEY_VARIABLE, other)
    result = place.ingest(key, spec())
    assert not result.success
    said = str([event.event_specific_data for event in result.all_events])
    assert f"people: {KEY_VARIABLE} is another key than the one" in said
    assert place.batches.pointer(key, "raw") == before
    # As docs/data.md says: the proof goes, the file comes back.
    place.batches.storage.remove(key_proof.place("people"))
    place.ingest(key, spec())
    place.land()
    assert not raw.forget_landed(spec(), place.batches, receipt)
    assert raw.is_outdated(spec(), place.batches, receipt, before)
    place.ingest(key, spec())
    assert pseudonym("no-1", other) in str(place.rows(key).to_dicts())
    assert not Path(receipt.path).exists()
