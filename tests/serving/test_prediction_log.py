"""The prediction log: every answer in Parquet, as it was given."""

import asyncio
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.lib.personal_data.pseudonyms import pseudonym
from serving.app import App
from serving.bundle.loaded import Bundle
from serving.prediction_log.entries import encode
from serving.prediction_log.rollup import roll_up
from serving.prediction_log.streams import Predictions
from serving.settings import Settings
from tests.benchmarks.prediction_log import FEATURES as WIDTH
from tests.benchmarks.prediction_log import INPUTS
from tests.serving.bundles import FEATURES, PAYLOAD, ROWS, USE_CASE, desire, make_bundle
from tests.serving.logged import NOON, STREAM, add, ids_in, make, names, read, segments
from tests.serving.server import ROOT, wait_until

DOCUMENT = ROOT / "docs" / "prediction-log.md"


def test_an_answer_is_logged_as_it_was_given(tmp_path: Path, bundle: Bundle) -> None:
    log = make(tmp_path)
    rows = [bundle.contract.validate_row(row) for row in ROWS]
    features = bundle._features.run(rows)
    probabilities = bundle._model.probabilities(features)
    who = log.predictions(bundle, "champion", "7")
    ids, requests = names(0, len(rows)), [f"r-{number}" for number in range(len(rows))]
    entities = ["it's", None, "naïve ☃", None, '"']
    log.start()
    log.append(who, NOON + 0.25, ids, requests, rows, features, probabilities, entities)
    log.feedback(USE_CASE, "p1", bundle.manifest.classes.positive.value, NOON, "q", "clinic")
    assert log.stop()
    assert log.stored == len(rows) + 1
    assert segments(tmp_path) == []

    found = read(tmp_path / "storage")
    for number, row in enumerate(found):
        assert row["prediction_id"] == ids[number]
        assert row["request_id"] == requests[number]
        assert row["entity_id"] == entities[number]
        assert row["time"] == datetime(2026, 1, 31, 12, 0, 0, 250000)
        assert str(row["day"]) == "2026-01-31"
        assert (row["use_case"], row["environment"]) == (USE_CASE, "dev")
        assert (row["role"], row["version"], row["digest"]) == ("champion", "7", bundle.digest)
        assert row["probability"] == probabilities[number]
        assert row["class"] == str(bundle.classify(row["probability"]).value)
        assert (row["positive_class"], row["threshold"]) == ("1", bundle.manifest.threshold)
        for name, value in rows[number].items():
            kept = row[f"input__{name}"]
            assert kept == (datetime.fromisoformat(value) if name == "seen" and value else value)
        for name, value in zip(FEATURES, features[number].tolist(), strict=True):
            assert row[f"feature__{name}"] == (None if math.isnan(value) else value)
    (label,) = read(tmp_path / "storage", "feedback")
    assert (label["prediction_id"], label["label"], label["source"]) == ("p1", "1", "clinic")


@pytest.mark.parametrize("left_out", ["inputs", "features", "entity_ids"])
def test_what_shall_not_be_kept_is_left_out(tmp_path: Path, bundle: Bundle, left_out: str) -> None:
    options: dict[str, Any] = {f"log_{left_out}": False}
    log = make(tmp_path, **options)
    rows = [{**bundle.contract.validate_row(ROWS[0]), "password": "of no contract"}]
    features = np.zeros((1, len(FEATURES)), np.float32)
    log.start()
    who = log.predictions(bundle, "champion", "7")
    log.append(who, NOON, ["p"], ["r"], rows, features, np.zeros(1), ["somebody"])
    assert log.stop()
    (row,) = read(tmp_path / "storage")
    assert any(name.startswith("input__") for name in row) is (left_out != "inputs")
    assert any(name.startswith("feature__") for name in row) is (left_out != "features")
    assert row["entity_id"] == (None if left_out == "entity_ids" else "somebody")
    assert "password" not in str(row)


TYPES = {"i": "BIGINT", "n": "DOUBLE", "b": "BOOLEAN", "t'\"": "VARCHAR", "s": "TIMESTAMP"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROW = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "n": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
        "t'\"": st.none() | TEXT,
        "s": st.none() | st.datetimes(),
    }
)
FLOATS = st.lists(st.floats(width=32, allow_infinity=False), min_size=2, max_size=2)


@given(st.lists(st.tuples(TEXT, ROW, FLOATS, st.floats(0, 1)), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_values_come_back_as_they_were(
    tmp_path: Path, records: list[tuple[str, dict[str, Any], list[float], float]]
) -> None:
    who = Predictions(
        "u", "dev", "it's", "1", "d", 0.1, ("no", 'y"es'), tuple(TYPES.items()), ("f", "g'")
    )
    log = make(tmp_path)
    rows = [{**row, "s": row["s"] and row["s"].isoformat(sep=" ")} for _, row, _, _ in records]
    floats = np.array([floats for *_, floats, _ in records], np.float32)
    ids = [text for text, *_ in records]
    log.append(who, NOON, ids, ids, rows, floats, np.array([p for *_, p in records]), ids)
    (entry,) = log._queue.take()
    lines = encode(list(entry.items()))
    assert lines.records == len(records)
    segment, target = tmp_path / "odd [x]*'.ndjson", tmp_path / "it's.parquet"
    segment.write_bytes(b'{"head": 1}\n' + lines.content)
    roll_up(who, segment, target)
    with duckdb.connect() as database:
        found = database.execute("SELECT * FROM read_parquet($1)", [str(target)]).fetchall()
    for (text, row, features, p), kept in zip(records, found, strict=True):
        assert kept[0] == kept[7] == kept[8] == text
        assert kept[9] == p
        assert kept[11] == ('y"es' if p >= 0.1 else "no")
        assert list(kept[13:18]) == [row[name] for name in TYPES]
        expected = [None if math.isnan(value) else value for value in features]
        assert list(kept[18:]) == expected
    again = tmp_path / "again.parquet"
    roll_up(who, segment, again)
    assert again.read_bytes() == target.read_bytes()


def test_an_entity_is_logged_as_the_client_wrote_it(tmp_path: Path) -> None:
    desire(tmp_path, make_bundle(tmp_path))
    app = App(
        Settings(use_cases=(USE_CASE,), storage_root=str(tmp_path), log_spool=str(tmp_path / "s"))
    )
    app.use_cases[USE_CASE].follower.look()

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            headers = {b"X-Entity-Id": "Müller-1".encode()}
            return await client.post("/predict", json=PAYLOAD, headers=headers)

    assert asyncio.run(ask()).status_code == 200
    app.log.start()
    assert app.log.stop()
    assert [row["entity_id"] for row in read(tmp_path)] == ["Müller-1"]


def test_a_day_ends_at_midnight_utc(tmp_path: Path) -> None:
    log = make(tmp_path)
    midnight = datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    log.start()
    for number, seconds in enumerate((-1e-3, 0.0, 1e-3, -2e-3)):
        add(log, [f"p{number}"], midnight + seconds)
    assert log.stop()
    found = {(row["prediction_id"], str(row["day"])) for row in read(tmp_path / "storage")}
    assert found == {
        ("p0", "2026-01-31"), ("p1", "2026-02-01"), ("p2", "2026-02-01"), ("p3", "2026-01-31"),
    }  # fmt: skip


def ask_document(root: Path) -> list[tuple[Any, ...]]:
    query = DOCUMENT.read_text().split("```sql\n")[1].split("```")[0]
    given = {"root": str(root), "use_case": "heart", "day": "2026-01-31"}
    for name, value in given.items():
        query = query.replace(f"{{{name}}}", value)
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def test_the_document_reads_a_day_before_the_first_label(tmp_path: Path) -> None:
    log = make(tmp_path)
    log.start()
    add(log, names(0, 4))
    assert log.stop()
    assert [row[:4] for row in ask_document(tmp_path / "storage")] == [("champion", "1", 4, 0)]


def test_the_document_reads_a_day_of_two_versions_with_labels(tmp_path: Path) -> None:
    log = make(tmp_path)
    other = Predictions(
        "heart", "dev", "challenger", "2", "b" * 64, 0.9, ("0", "1"),
        (("age", "DOUBLE"), ("smoker", "BOOLEAN")), ("feature_0", "smoker"),
    )  # fmt: skip
    log.start()
    add(log, names(0, 4))
    rows = [{"age": 63.5, "smoker": True}] * 2
    log.append(other, NOON, names(4, 2), names(4, 2), rows, np.ones((2, 2), np.float32), np.ones(2))
    add(log, ["tomorrow"], NOON + 86_400)
    for number, label in enumerate((1, 0, 1)):
        log.feedback("heart", f"p{number}", label, NOON + 86_400 * number, "q")
    log.feedback("heart", "p4", 0, NOON + 1, "q")
    log.feedback("heart", "p4", 1, NOON + 2, "q")  # corrected
    assert log.stop()
    found = ask_document(tmp_path / "storage")
    assert [row[:4] for row in found] == [("challenger", "2", 2, 1), ("champion", "1", 4, 3)]
    assert [row[5] for row in found] == [1.0, pytest.approx(2 / 3)]
    ages = read(tmp_path / "storage", what="role, input__age, input__smoker, feature__feature_0")
    assert ages[0] == {
        "role": "challenger", "input__age": 63.5, "input__smoker": True, "feature__feature_0": 1.0
    }  # fmt: skip
    assert ages[-1]["input__age"] == 63
    assert ages[-1]["input__smoker"] is None


def test_what_finds_no_room_is_counted_and_shadows_give_way(tmp_path: Path) -> None:
    log = make(tmp_path, log_queue_records=100, log_queue_mb=1)
    shadow = Predictions(**{**_fields(STREAM), "role": "shadow"})
    for number in range(60):
        add(log, [f"s{number}"], who=shadow)
    assert log.backlog().queued == 50
    assert log.dropped == {"queue": 10}
    before = log.full
    for number in range(60):
        add(log, [f"p{number}"])
    assert (before, log.full) == (False, True)
    assert log.dropped == {"queue": 20}
    assert log.backlog().queued == 100
    log.start()
    wait_until(lambda: log.backlog().queued == 0, "an empty queue")
    assert not log.full
    add(log, ["large"], size=2 << 20)
    assert log.dropped == {"queue": 21}
    assert log.stop()
    add(log, ["late"])
    assert log.dropped == {"queue": 21, "stopped": 1}
    assert len(ids_in(tmp_path / "storage")) == 100


def test_a_share_of_a_shadows_scores_is_the_same_one_everywhere(tmp_path: Path) -> None:
    shadow = Predictions(**{**_fields(STREAM), "role": "shadow"})
    kept = []
    for number in range(2):
        log = make(tmp_path / str(number), log_shadow_share=0.25)
        log.start()
        add(log, names(0, 2000), who=shadow)
        add(log, ["champion"])
        assert log.stop()
        kept.append(ids_in(tmp_path / str(number) / "storage"))
    assert kept[0] == kept[1]
    assert "champion" in kept[0]
    assert 400 < len(kept[0]) < 600


def test_a_record_that_no_line_can_hold_costs_no_other(tmp_path: Path) -> None:
    log = make(tmp_path)
    log.start()
    add(log, ["before", "\ud800", "after"])
    add(log, ["x" * (9 << 20)])
    one = np.zeros((1, WIDTH), np.float32)
    log.append(STREAM, NOON, ["a", "b"], ["a"], [INPUTS], one, np.zeros(1))
    assert log.stop()
    assert ids_in(tmp_path / "storage") == ["a", "after", "before"]
    assert log.dropped == {"value": 2, "size": 1}


def _fields(who: Predictions) -> dict[str, Any]:
    return {name: getattr(who, name) for name in who.__struct_fields__}


@pytest.mark.parametrize(
    ("pii", "key", "kept"),
    [
        (None, "", "Ann-7"),
        ("drop", "sixteen characters", None),
        ("hash", "", None),
        ("hash", "sixteen characters", pseudonym("Ann-7", "sixteen characters")),
    ],
)
def test_an_id_is_kept_as_the_contract_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pii: str | None, key: str, kept: str | None
) -> None:
    monkeypatch.setenv("MLOPS_PII_KEY", key)
    log = make(tmp_path)
    log.start()
    who = msgspec.structs.replace(STREAM, entity_pii=pii)
    log.append(
        who, NOON, ["p"], ["r"], [INPUTS], np.zeros((1, WIDTH), np.float32), np.ones(1), [" Ann-7 "]
    )
    assert log.stop()
    (row,) = read(tmp_path / "storage")
    assert row["entity_id"] == (kept if pii else " Ann-7 ")
