"""Pruning keeps what serves, waits or can be rolled back to, with all that it is made of."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.lib.records import current
from mlops_assets.lib.records.ledger import LedgerError
from mlops_assets.lib.spec.retention import Retention
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.prune import BusyError, Pruning
from mlops_assets.operations.retention import judged_long_ago, needed, unneeded
from tests.platform import DATA, HEART, Platform, platform, quick_spec

LATER = datetime.now(UTC) + timedelta(days=365)


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two versions, one after the other; the first was never promoted."""
    lines = (DATA / "heart_cleveland.csv").read_text().splitlines(keepends=True)
    with platform(tmp_path_factory.mktemp("retrained")) as made:
        for name, rows in (("one.csv", lines[:241]), ("two.csv", [lines[0], *lines[241:]])):
            assert made.ingest(made.land("".join(rows), name)).success
            assert made.run("retrain").success
        yield made


@pytest.fixture
def made(retrained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """A copy of it, with MLflow's records, on an instance of its own."""
    for name in ("storage", "mlflow"):
        shutil.copytree(retrained.home / name, tmp_path / name)
    with platform(tmp_path) as copy:
        yield copy


def prune(made: Platform, *, now: datetime = LATER, dry_run: bool = False) -> str:
    pruning = Pruning(made.spec, made.store, made.instance, made.mlflow, dry_run=dry_run, now=now)
    return "\n".join(pruning.run())


def files(made: Platform) -> dict[str, bytes]:
    return {
        str(path.relative_to(made.home)): path.read_bytes()
        for path in made.home.rglob("*")
        if path.is_file() and path.suffix not in {".db", ".lock"} and path.name != ".lock"
    }


def versions(made: Platform) -> list[str]:
    found = made.mlflow.client().search_model_versions(f"name = '{HEART}'")
    return sorted(str(version.version) for version in found)


def bundles(made: Platform) -> list[str]:
    return list(made.store.list(f"{HEART}/bundles"))


def newest(made: Platform) -> dict[str, Any]:
    record = current.read(made.store, HEART, "registered_version")
    assert record is not None
    return record


def test_a_dry_run_says_what_goes_and_touches_nothing(made: Platform) -> None:
    before = files(made)
    said = prune(made, dry_run=True)
    assert files(made) == before
    assert versions(made) == ["1", "2"]
    assert "1 versions are kept" in said
    assert "1 MLflow versions: 1" in said


def test_what_no_kept_version_needs_goes_and_the_rest_stays_whole(made: Platform) -> None:
    record = newest(made)
    prune(made)
    assert bundles(made) == [record["digest"]]
    assert versions(made) == ["2"]
    assert len(made.store.list(f"{HEART}/training_sets")) == 1
    assert len(made.store.list(f"{HEART}/candidates")) == 3
    # The kept version can still be registered, judged and decided upon once more.
    for stage in ("evaluation", "registered_version"):
        assert made.materialize(stage).success
    assert newest(made)["digest"] == record["digest"]
    assert made.ledger.verify()
    # A batch's files are in the lineage of the kept version, and raw data are never lost.
    assert len(made.store.list(f"{HEART}/raw")) == 2
    assert "0 objects" in prune(made)


def test_recent_versions_stay(made: Platform) -> None:
    before = files(made)
    said = prune(made, now=datetime.now(UTC) + timedelta(days=1))
    assert "2 versions are kept" in said
    assert files(made) == before
    assert versions(made) == ["1", "2"]


def test_what_was_promoted_stays_for_a_rollback(made: Platform) -> None:
    first = next(e for e in made.ledger.entries() if e["version"] == "1")
    made.ledger.append(
        "promoted", {k: first[k] for k in ("version", "bundle", "path", "training_set")}
    )
    prune(made)
    assert sorted(bundles(made)) == sorted([first["bundle"], newest(made)["digest"]])
    assert versions(made) == ["1", "2"]
    keep = needed(made.store, made.spec, LATER)
    assert list(unneeded(made.store, made.spec, keep)) == []


def test_what_a_killed_process_left_goes_when_it_is_old(made: Platform) -> None:
    old = made.store.local(f"{HEART}/features/.partial-old")
    young = made.store.local(f"{HEART}/features/.partial-young")
    for path in (old, young):
        path.write_text("half")
    hour_ago = datetime.now(UTC).timestamp() - 3600
    os.utime(old, (hour_ago, hour_ago))
    assert "1 half-written" in prune(made, now=datetime.now(UTC))
    assert not old.exists()
    assert young.exists()


def test_old_features_that_nothing_points_to_go(made: Platform) -> None:
    stray = made.store.local(f"{HEART}/features/stray.parquet")
    shutil.copyfile(DATA / "heart_cleveland.csv", stray)
    count = len(made.store.list(f"{HEART}/features"))
    prune(made)
    assert not stray.exists()
    assert len(made.store.list(f"{HEART}/features")) == count - 1


def test_nothing_goes_while_a_run_is_at_work(made: Platform) -> None:
    create_run_for_test(
        made.instance,
        job_name=f"{HEART}_retrain",
        status=dg.DagsterRunStatus.STARTED,
        tags={"mlops/use_case": HEART},
    )
    before = files(made)
    with pytest.raises(BusyError, match="1 runs are queued or at work"):
        prune(made)
    assert files(made) == before


def test_nothing_goes_while_the_ledger_does_not_hold(made: Platform) -> None:
    path = made.store.local(f"{HEART}/ledger/00000001.json")
    path.write_text(path.read_text().replace("approved", "rejected"))
    before = files(made)
    with pytest.raises(LedgerError):
        prune(made)
    assert files(made) == before


def test_old_runs_of_dagster_go_and_their_evidence_stays(made: Platform) -> None:
    key = made.batches.keys()[0]
    made.instance.add_dynamic_partitions(f"{HEART}_batches", [key])
    assert made.ingest(key).success
    stale = create_run_for_test(
        made.instance,
        job_name=f"{HEART}_ingest",
        status=dg.DagsterRunStatus.FAILURE,
        tags={"mlops/use_case": HEART},
    )
    other = create_run_for_test(
        made.instance, job_name="other", status=dg.DagsterRunStatus.SUCCESS, tags={}
    )
    assert "1 Dagster runs" in prune(made)
    assert made.instance.get_run_by_id(stale.run_id) is None
    assert made.instance.get_run_by_id(other.run_id) is not None
    assert made.tick("landing").run_requests is not None
    latest = made.instance.get_latest_materialization_event(dg.AssetKey([HEART, "raw"]))
    assert latest is not None
    assert made.instance.get_run_by_id(latest.run_id) is not None


def test_each_store_and_what_landed_have_days_of_their_own(
    made: Platform, retrained: Platform
) -> None:
    before = files(made)
    landed = [path for path in before if "/landing/" in path]
    keys = made.batches.keys()
    for receipt in made.batches.receipts():  # they name the files that were copied
        place = retrained.batches.landed_key(receipt)
        assert place is not None
        record = {**vars(receipt), "path": made.store.uri(place)}
        made.store.write_json(f"{HEART}/batches/{receipt.key}/receipt.json", record)
    scores = {key: f"{HEART}/predictions/{key}" for key in (keys[0], "old")}
    for folder in scores.values():
        made.store.local(folder).mkdir(parents=True)
    made.batches.point(keys[0], "predictions", {"folder": scores[keys[0]]})
    made.spec.__dict__["retention"] = Retention.model_validate(
        {"landed": 400, "runs": 400, "stores": {"candidates": 400, "predictions": 300}}
    )
    said = prune(made)
    assert "0 landed files" in said
    assert "0 MLflow runs older than 400 days" in said
    assert len(made.store.list(f"{HEART}/candidates")) == 6
    assert len(made.store.list(f"{HEART}/training_sets")) == 1
    # What a batch points to stays; what was made again by another bundle has had its days.
    assert made.store.list(f"{HEART}/predictions") == [keys[0]]

    made.spec.__dict__["retention"] = Retention(landed=300)
    assert f"{len(landed)} landed files" in prune(made)
    assert [path for path in files(made) if "/landing/" in path] == []
    assert len(made.store.list(f"{HEART}/raw")) == 2
    assert [receipt.key for receipt in made.batches.receipts()] == keys


def test_days_of_the_prediction_log_go_when_they_are_old(made: Platform) -> None:
    today = LATER.date()
    kept = {"served": 400, "feedback": 500}
    for kind in kept:
        for age in (1, 400, 401, 501, 502):
            day = today - timedelta(days=age)
            path = made.store.local(f"{HEART}/{kind}/day={day}/worker-000001.parquet")
            path.parent.mkdir(parents=True)
            path.write_text("rows")
    made.spec.__dict__["retention"] = Retention(feedback=500)
    before = files(made)
    said = prune(made, dry_run=True)
    assert files(made) == before
    assert f"3 days of served, 0.0 MB: {HEART}/served/day={today - timedelta(days=502)}" in said
    assert "2 days of feedback" in said
    prune(made)
    for kind, days in kept.items():
        left = [today - timedelta(days=age) for age in (1, 400, 401, 501) if age <= days]
        assert made.store.list(f"{HEART}/{kind}") == [f"day={day}" for day in sorted(left)]


def test_records_of_days_that_the_log_has_no_more_go(tmp_path: Path) -> None:
    store = Storage(tmp_path)
    records = [f"{HEART}/performance/{day}" for day in ("2020-01-01", "2020-01-02", "2030-01-01")]
    for key in records:
        day = key.rsplit("/", 1)[1]
        record = {"day": day, "at": f"{day}T00:00:00+00:00", "days": {"2020-01-02": {}}}
        store.write_json(f"{key}/record.json", record)
        store.write_json(f"{HEART}/labels/{day}/record.json", record)
    served = store.local(f"{HEART}/served/day=2020-01-02")
    served.mkdir(parents=True)
    spec = quick_spec().model_copy(update={"retention": Retention(served=10_000.0)})
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert list(judged_long_ago(store, spec, now)) == [records[0]]
    served.rmdir()
    gone = list(judged_long_ago(store, spec, now))
    assert gone == [*records[:2], f"{HEART}/labels/2020-01-01", f"{HEART}/labels/2020-01-02"]
