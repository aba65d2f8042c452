"""What lands broken is said where a person looks, and stops nothing else."""

from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.lib.records import current
from mlops_assets.stages.evidence import look_at_batches
from tests.platform import DATA, HEART, Platform, checks

CLEVELAND = (DATA / "heart_cleveland.csv").read_text()
HEADER, *ROWS = CLEVELAND.splitlines()


def validate(made: Platform, key: str) -> dg.ExecuteInProcessResult:
    """Ingest a batch up to its validation, without the seconds that its features take."""
    assert made.materialize("raw", partition_key=key).success
    return made.materialize("validated", partition_key=key)


def batch(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("content", "check", "said"),
    [
        pytest.param("", "raw/readable", "is empty (0 bytes)", id="empty"),
        pytest.param(HEADER + "\n", "raw/not_empty", "has a header and no rows", id="header only"),
        pytest.param(
            batch(*ROWS, header=HEADER.replace("thalach", "max_heart_rate")),
            "validated/schema",
            "no column thalach; the file has age, sex",
            id="wrong column",
        ),
        pytest.param(
            batch(ROWS[0]),
            "validated/target_distribution",
            "of 1 valid rows",
            id="one row",
        ),
        pytest.param(
            batch(*ROWS[:20], *ROWS[:20]),
            "validated/duplicates",
            "20 of 40 rows (50.0%) repeat an earlier one",
            id="duplicated rows",
        ),
        pytest.param(
            batch(*(f"-1,{row.split(',', 1)[1]}" for row in ROWS)),
            "validated/ranges",
            "age: -1 is outside 18 to 110 years",
            id="age of -1",
        ),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", "raw/readable", "binary", id="binary"),
    ],
)
def test_a_batch_that_cannot_be_used_is_refused_with_the_reason(
    fresh: Platform, content: str | bytes, check: str, said: str
) -> None:
    key = fresh.land(content, "broken.csv")
    result = fresh.ingest(key)
    assert not result.success
    passed, description = checks(result)[check]
    assert not passed
    assert said in description
    # It is an answer: no sensor asks again, and nothing waits for it.
    assert fresh.tick("landing").run_requests == []
    assert fresh.tick("retrain").run_requests == []


def test_bad_rows_are_kept_with_their_reasons_and_good_rows_go_on(fresh: Platform) -> None:
    import polars as pl

    good = ROWS[:200]
    text = good[0].replace("63,", "sixty-three,", 1)
    code = ",".join([*ROWS[201].split(",")[:2], "9", *ROWS[201].split(",")[3:]])
    short = ",".join(ROWS[202].split(",")[:5])
    key = fresh.land(batch(*good, text, code, short), "some bad.csv")
    result = validate(fresh, key)
    assert result.success
    pointer = fresh.batches.pointer(key, "validated")
    assert pointer is not None
    assert (pointer["rows"], pointer["quarantined"]) == (200, 3)
    quarantine = pl.read_parquet(fresh.store.local(pointer["quarantine"]))
    assert quarantine["_row"].to_list() == [201, 202, 203]
    reasons = quarantine["_reasons"].to_list()
    assert reasons[0] == "age: 'sixty-three' is not an integer"
    assert reasons[1] == "cp: 9 is not one of 0, 1, 2, 3"
    assert "line 204: 5 fields where the header has 14" in reasons[2]
    assert quarantine["age"][0] == "sixty-three"
    passed, said = checks(result)["validated/warnings"]
    assert not passed
    assert "3 of 203 rows are in quarantine" in said


def test_a_file_as_another_country_writes_it_has_the_same_rows(fresh: Platform) -> None:
    import polars as pl

    lines = [line.replace(",", ";").replace(".", ",") for line in CLEVELAND.splitlines()]
    lines[0] += ";hôpital"
    text = "\r\n".join([lines[0], *(f"{line};Zürich" for line in lines[1:])])
    plain = fresh.land(DATA / "heart_cleveland.csv")
    names = {"utf-8-sig": """Zürich "Nord", it's 1 [*].csv""", "cp1252": "été.csv"}
    for key in [plain, *(fresh.land(text.encode(e), name) for e, name in names.items())]:
        result = validate(fresh, key)
        assert result.success
        assert key == plain or "not used: hôpital" in checks(result)["validated/schema"][1]
    read = []
    for key in fresh.batches.keys():  # noqa: SIM118 (no mapping)
        pointer = fresh.batches.pointer(key, "validated")
        assert pointer is not None
        read.append(pl.read_parquet(fresh.store.local(pointer["file"]), glob=False).drop("row_id"))
    assert len(read) == 3
    assert read[0].height == 303
    assert all(frame.equals(read[0]) for frame in read)
    # The rows are the same, so that they count once.
    for key in fresh.batches.keys()[:2]:
        assert fresh.materialize("features", partition_key=key).success
    assert fresh.materialize("training_set").success
    record = current.read(fresh.store, HEART, "training_set")
    assert record is not None
    assert sum(record["rows"].values()) == 303


def test_the_same_content_under_another_name_is_refused(fresh: Platform) -> None:
    first = fresh.land(DATA / "heart_cleveland.csv")
    assert fresh.ingest(first).success
    second = fresh.land(DATA / "heart_cleveland.csv", "copy of heart.csv")
    assert second != first
    result = fresh.ingest(second)
    assert not result.success
    passed, said = checks(result)["raw/not_a_duplicate"]
    assert not passed
    assert f"the content is that of batch {first}" in said
    model = _model(fresh)
    looked = look_at_batches(fresh.instance, fresh.batches, fresh.spec, model)
    assert [batch.state for batch in looked] == ["accepted", "refused"]


def test_a_file_that_was_gone_before_it_was_read_stands_in_nobodys_way(fresh: Platform) -> None:
    gone = fresh.land(batch(*ROWS[:60]), "gone.csv")
    receipt = fresh.batches.receipt(gone)
    assert receipt is not None
    Path(receipt.path).unlink()
    assert not fresh.ingest(gone).success
    again = fresh.land(batch(*ROWS[:60]), "again.csv")
    assert validate(fresh, again).success


def test_the_same_file_twice_is_one_batch(fresh: Platform) -> None:
    first = fresh.land(DATA / "heart_cleveland.csv")
    assert fresh.land(DATA / "heart_cleveland.csv") == first
    assert len(fresh.batches.keys()) == 1


def test_a_bad_batch_does_not_hold_up_the_next(fresh: Platform) -> None:
    bad = fresh.land("", "bad.csv")
    assert not fresh.ingest(bad).success
    good = fresh.land(DATA / "heart_cleveland.csv")
    assert fresh.ingest(good).success
    (request,) = fresh.tick("retrain").run_requests or []
    assert request.tags["mlops/use_case"] == HEART


def test_missing_ca_thal_and_slope_warn_and_zero_cholesterol_is_not_recorded(
    fresh: Platform,
) -> None:
    import polars as pl

    hungarian = (DATA / "heart_hungarian.csv").read_text().splitlines()
    cells = hungarian[1].split(",")
    cells[4] = "0"
    key = fresh.land(batch(*hungarian[1:], ",".join([*cells])), "hungarian.csv")
    result = validate(fresh, key)
    assert result.success
    found = checks(result)
    assert found["validated/missing"][0]
    assert not found["validated/warnings"][0]
    for column in ("ca", "thal", "slope"):
        assert f"{column} is missing" in found["validated/warnings"][1]
    pointer = fresh.batches.pointer(key, "validated")
    assert pointer is not None
    rows = pl.read_parquet(fresh.store.local(pointer["file"]))
    assert rows["chol"].to_list()[-1] is None
    assert rows["chol"].drop_nulls().min() > 60  # type: ignore[operator]


def _model(fresh: Platform):  # type: ignore[no-untyped-def]
    from mlops_assets.lib.features.dbt_project import feature_model, prepare

    return feature_model(prepare(HEART, fresh.spec.contract), HEART)
