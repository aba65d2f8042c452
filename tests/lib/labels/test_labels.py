"""Labels from a source: by id, by entity and time, and rows that say nothing about an answer."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.lib.labels.place import LabelPlace
from mlops_assets.lib.sources.fetch import fetch
from mlops_assets.lib.sources.inbox import Fetched
from mlops_assets.lib.spec.performance import LabelSource
from mlops_assets.lib.storage.root import Storage
from tests.lib.performance.helpers import CASE, ids, served
from tests.platform import quick_spec

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SPEC = quick_spec()


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


def source(folder: Path, **columns: str) -> LabelSource:
    return LabelSource.model_validate(
        {"source": {"name": "crm", "kind": "files", "url": str(folder)}, **columns}
    )


def fetched(store: Storage, labels: LabelSource, now: datetime = NOW) -> Fetched:
    for file in Path(labels.source.url).iterdir():  # type: ignore[union-attr]
        os.utime(file, (1e9, 1e9))
    place = LabelPlace(store, SPEC, labels, now=lambda: now)
    found = fetch(labels.source, place, {})
    place.say(found)
    return found


def feedback(store: Storage) -> list[dict[str, Any]]:
    files = sorted(Path(store.root).glob(f"{CASE}/feedback/*/*.parquet"))
    return [row for file in files for row in pl.read_parquet(file).sort("time").to_dicts()]


def test_good_rows_are_feedback_and_the_others_are_kept_with_their_reason(
    store: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    one, two = ids("2026-03-01", 2)
    (folder / "outcomes.csv").write_text(
        "id,outcome,seen\n"
        f"{one},1,2026-03-01 10:00\n"
        f"{two.upper()},disease,2026-03-01T12:00:00+02:00\n"
        f"{one},0,\n"
        "77,1,\n"
        f"{one},2,\n"
        f"{one},,\n"
        f"{one},1,tomorrow\n"
        f"{one},1,2027-01-01\n"
        ",1,\n"
    )
    labels = source(folder, prediction_id="id", label="outcome", observed_at="seen")
    spec_labels = [SPEC.contract.target.positive_label, SPEC.contract.target.negative_label]
    text = (folder / "outcomes.csv").read_text().replace("disease", spec_labels[0])
    (folder / "outcomes.csv").write_text(text)
    found = fetched(store, labels)
    rows = feedback(store)
    # Of two about one answer the later observed one is told later, and counts.
    said = [(r["prediction_id"], r["label"]) for r in rows]
    assert said == [(one, "0"), (one, "1"), (two, "1")]
    assert rows[0]["source"] == "crm"
    assert {r["observed_at"] for r in rows} == {None, datetime(2026, 3, 1, 10)}
    (quarantine,) = Path(store.root).glob(f"{CASE}/label_quarantine/crm/*.parquet")
    assert [tuple(r.values()) for r in pl.read_parquet(quarantine).to_dicts()] == [
        ("outcomes.csv", 4, "id: no id of an answer, which has 32 hexadecimal characters"),
        ("outcomes.csv", 5, "outcome: not 0 or 1"),
        ("outcomes.csv", 6, "outcome: a value is required"),
        ("outcomes.csv", 7, "seen: not a time"),
        ("outcomes.csv", 8, "seen: in the future"),
        ("outcomes.csv", 9, "id: a value is required"),
    ]
    assert "outcomes.csv: 6 rows are quarantined" in str(found)

    # The same file once more, on another day and under a lost memory of the source: nothing new.
    store.remove(f"{CASE}/sources/crm.json")
    assert str(fetched(store, labels, NOW.replace(day=9))) == "nothing new"
    assert feedback(store) == rows


def test_an_entity_and_a_time_name_the_last_answer_before_it(
    store: Storage, tmp_path: Path
) -> None:
    served(store, "2025-10-01", 2, entities=["ann", "bob"])
    served(store, "2026-02-01", 2, entities=["ann", "eve"])
    served(store, "2026-02-20", 2, entities=["ann", "eve"])
    served(store, "2026-02-20", 2, role="shadow", entities=["bob", "bob"], name="shadow")
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "outcomes.jsonl").write_text(
        '{"who": "ann", "outcome": 1, "at": "2026-02-10"}\n'
        '{"who": "ann", "outcome": 0, "at": "2026-03-01"}\n'
        '{"who": "bob", "outcome": 1, "at": "2026-03-01"}\n'
        '{"who": "eve", "outcome": 1, "at": "2026-01-01"}\n'
        '{"who": "eve", "outcome": 1}\n'
    )
    labels = source(folder, entity="who", label="outcome", observed_at="at")
    fetched(store, labels)
    assert [(r["prediction_id"], r["label"]) for r in feedback(store)] == [
        (ids("2026-02-01", 1)[0], "1"),
        (ids("2026-02-20", 1)[0], "0"),
    ]
    (quarantine,) = Path(store.root).glob(f"{CASE}/label_quarantine/crm/*.parquet")
    assert [(r["row"], r["reason"]) for r in pl.read_parquet(quarantine).to_dicts()] == [
        (3, "who: no answer for it within 90 days before the time"),
        (4, "who: no answer for it within 90 days before the time"),
        (5, "at: a value is required"),
    ]


def test_a_file_without_the_columns_is_a_problem_and_is_looked_at_again(
    store: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "outcomes.csv").write_text("id,result\n1,1\n")
    labels = source(folder, prediction_id="id", label="outcome")
    said = "outcomes.csv has no column outcome, which labels.crm names"
    assert said in str(fetched(store, labels))
    (folder / "outcomes.csv").write_text(f"id,outcome\n{ids('2026-03-01', 1)[0]},1\n")
    assert not fetched(store, labels).problems
    assert len(feedback(store)) == 1


def test_a_kill_between_the_rows_and_their_receipt_doubles_nothing(
    store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "outcomes.csv").write_text(f"id,outcome\n{ids('2026-03-01', 1)[0]},1\n")
    labels = source(folder, prediction_id="id", label="outcome")
    fetched(store, labels)
    before = feedback(store)
    (receipt,) = (f.key for f in store.files(f"{CASE}/label_files"))
    content = store.read_json(receipt)
    assert content is not None
    store.write_json(receipt, {**content, "rows": None})
    store.remove(f"{CASE}/sources/crm.json")
    fetched(store, labels, NOW.replace(day=9))
    assert feedback(store) == before


def test_a_label_says_which_answer_it_is_about() -> None:
    for columns, said in (
        ({}, "one of them is needed"),
        ({"prediction_id": "id", "entity": "who"}, "and not both"),
        ({"entity": "who"}, "entity needs observed_at"),
    ):
        with pytest.raises(ValueError, match=said):
            source(Path("/exports"), **columns)
