"""Drift in the graph: of batches, of days of the prediction log, and when something is broken."""

import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.lib.drift import records
from mlops_assets.operations.status import _batches, as_text
from mlops_assets.operations.what_serves import what_serves
from mlops_assets.stages import live_drift
from tests.platform import DATA, HEART, Platform, checks, platform

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


@pytest.fixture(scope="module")
def crowned(trained: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A copy of the trained platform whose version was promoted. The Hungarian site has landed."""
    home = tmp_path_factory.mktemp("crowned")
    shutil.copytree(trained.home / "storage", home / "storage")
    with platform(home) as made:
        made.instance.add_dynamic_partitions(f"{HEART}_batches", made.batches.keys())
        approved = made.ledger.entries()[-1]
        facts = {k: approved[k] for k in ("version", "bundle", "path", "training_set", "wanted")}
        made.ledger.append("promoted", facts)
        yield made


@pytest.fixture(scope="module")
def hungarian(crowned: Platform) -> dg.ExecuteInProcessResult:
    return crowned.ingest(crowned.land(DATA / "heart_hungarian.csv"))


@pytest.fixture
def copied(
    crowned: Platform, hungarian: dg.ExecuteInProcessResult, tmp_path: Path
) -> Iterator[Platform]:
    """A copy of it all, to be broken."""
    assert hungarian.success
    shutil.copytree(crowned.home / "storage", tmp_path / "storage")
    with platform(tmp_path) as made:
        made.instance.add_dynamic_partitions(f"{HEART}_batches", made.batches.keys())
        yield made


def metadata(result: dg.ExecuteInProcessResult, stage: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(f"{HEART}__{stage}")
    return {name: value.value for name, value in event.metadata.items()}


def test_a_batch_before_the_first_champion_is_not_judged(trained: Platform) -> None:
    (key,) = trained.batches.keys()
    record = records.read(trained.store, HEART, "batches", key)
    assert record is not None
    assert (record["judged"], record["drifted"], record["score"]) == (False, False, None)
    assert record["reason"] == "not judged: there is no champion yet"


def test_another_site_drifts_and_stops_nothing(
    crowned: Platform, hungarian: dg.ExecuteInProcessResult
) -> None:
    assert hungarian.success
    (warning,) = [e for e in hungarian.get_asset_check_evaluations() if e.check_name == "drift"]
    assert (warning.passed, warning.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "ca is missing in 99% of the rows" in str(warning.description)
    key = crowned.batches.receipts()[-1].key
    record = records.read(crowned.store, HEART, "batches", key)
    assert record is not None
    assert record["drifted"]
    assert record["score"] > 0.5
    assert record == records.latest(crowned.store, HEART, "batches", 1)[0]
    kinds = {column["name"]: column["kind"] for column in record["versions"][0]["columns"]}
    assert kinds["score"] == "score"
    assert set(kinds) == {c.name for c in crowned.spec.contract.inputs} | {"score"}

    said = metadata(hungarian, "batch_drift")
    assert said["drift score"] == record["score"]
    assert said["rows"] == 293
    assert "| ca | ██████████ |" in said["columns"]
    assert said["Evidently says"].startswith("drifted: ")
    page = Path(said["report"]).read_text(encoding="utf-8")
    assert "<html" in page
    assert "trestbps" in page

    state = _batches(crowned.store, crowned.spec, set())
    assert state[-1]["drift"]["drifted"]
    assert state[0]["drift"]["reason"].endswith("no champion yet")
    none = ("training_set", "best_roc_auc", "champion", "rollout", "retrain")
    empty = ("candidates", "versions", "failed_checks", "alerts")
    served = what_serves(crowned.store, HEART, crowned.ledger.entries())
    about: dict[str, Any] = {"use_case": HEART, "batches": state, **served}
    lines = as_text(dict.fromkeys(none) | {name: [] for name in empty} | about)
    assert "    drifted  " in lines


def judged_again(made: Platform) -> tuple[bool, str]:
    """The newest batch once more, as the button does it."""
    key = made.batches.receipts()[-1].key
    result = made.materialize("batch_drift", partition_key=key)
    assert result.success
    return checks(result)["batch_drift/drift"]


def test_a_broken_training_set_loses_no_batch(copied: Platform) -> None:
    (rows,) = Path(copied.store.root).glob(f"{HEART}/training_sets/*/inputs.parquet")
    rows.write_bytes(rows.read_bytes()[:-20])
    passed, said = judged_again(copied)
    assert not passed  # a warning: somebody should look
    assert said.startswith("not judged: InvalidInputException: ")
    assert "inputs.parquet" in said
    assert not records.latest(copied.store, HEART, "batches")[-1]["judged"]


def test_without_the_rows_of_the_training_the_profile_judges(copied: Platform) -> None:
    shutil.rmtree(Path(copied.store.root) / HEART / "training_sets")
    passed, said = judged_again(copied)
    assert not passed
    assert "ca is missing in 99% of the rows" in said
    record = records.latest(copied.store, HEART, "batches")[-1]
    (version,) = record["versions"]
    found = {column["name"]: column for column in version["columns"]}
    assert found["age"]["test"] == "Welch"
    assert found["age"]["drifted"] == ["distribution"]
    assert found["cp"]["test"] == "chi-squared"
    assert "score" not in found
    assert record["pictures"]["evidently"] == (
        "not drawn: the rows of the version's training are gone"
    )


def test_without_the_bundle_it_says_so(copied: Platform) -> None:
    shutil.rmtree(Path(copied.store.root) / HEART / "bundles")
    passed, said = judged_again(copied)
    assert passed
    assert said.endswith(" is not in the storage")


def log_rows(made: Platform, batch: int, digest: str | None = None) -> pl.DataFrame:
    """The prediction log of a day on which the rows of a batch were asked about."""
    key = made.batches.receipts()[batch].key
    files = [made.batches.pointer(key, stage) for stage in ("validated", "features")]
    assert all(files)
    inputs, features = (pl.read_parquet(made.store.local(f["file"])) for f in files if f)
    names = [column.name for column in made.spec.contract.inputs]
    crowned = made.ledger.entries()[-1]
    return pl.concat(
        [
            inputs.select(pl.col(names).name.prefix("input__")),
            features.select(pl.exclude("row_id").name.prefix("feature__")),
        ],
        how="horizontal",
    ).with_columns(
        role=pl.lit("champion"),
        version=pl.lit(crowned["version"]),
        digest=pl.lit(digest or crowned["bundle"]),
        prediction_id=pl.Series([uuid.uuid4().hex for _ in range(inputs.height)]),
        probability=pl.Series([(n % 97) / 97 for n in range(inputs.height)]),
    )


def day_of(made: Platform, *frames: pl.DataFrame) -> Path:
    folder = Path(made.store.root) / HEART / "served" / f"day={YESTERDAY}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"worker-{number:04d}.parquet")
    return folder


def watched(made: Platform) -> tuple[bool, str]:
    result = made.run("monitor", partition_key=YESTERDAY)
    assert result.success
    return checks(result)["live_drift/drift"]


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_day_that_breaks_the_judgement_is_said_and_warns(copied: Platform) -> None:
    huge = pl.col("input__oldpeak").cast(pl.Float64) * 0 + 1.7e308
    day_of(copied, log_rows(copied, 0).with_columns(input__oldpeak=huge))
    passed, said = watched(copied)
    assert not passed
    assert said.startswith("not judged: ValueError: ")


def test_a_day_is_judged_by_the_version_that_answered(copied: Platform) -> None:
    spec, store, now = copied.spec, copied.store, datetime.now(UTC)
    assert live_drift.outstanding(store, spec, now) == []
    assert watched(copied) == (True, "not judged: nothing was answered on that day")

    usual, other = log_rows(copied, 0), log_rows(copied, 1)
    shadow = other.with_columns(role=pl.lit("shadow"))
    folder = day_of(copied, usual, shadow)
    (folder / "worker-0007.parquet").write_bytes(b"PAR1 and no more")
    ((day, digest),) = live_drift.outstanding(store, spec, now)
    assert day == YESTERDAY
    # Of today nobody knows yet what it will hold.
    assert live_drift.outstanding(store, spec, now - timedelta(days=1)) == []
    _, said = watched(copied)
    assert "; 1 files cannot be read: worker-0007.parquet (" in said
    record = records.read(store, HEART, "days", YESTERDAY)
    assert record is not None
    assert (record["input"], record["rows"]) == (digest, 303)
    found = {column["name"]: column for column in record["versions"][0]["columns"]}
    # The inputs are those of the training; the scores were made up.
    assert [name for name, c in found.items() if c["drifted"]] == ["score"]
    assert found["rate_pressure_product"]["kind"] == "feature"
    assert Path(store.uri(record["pictures"]["report"])).is_file()
    assert live_drift.outstanding(store, spec, now) == []

    # Files that come late: the day is judged again, each version by its own reference.
    day_of(copied, usual, shadow, log_rows(copied, 1, "f" * 64))
    assert len(live_drift.outstanding(store, spec, now)) == 1
    _, said = watched(copied)
    assert "the bundle ffffffffffff is not in the storage" in said
    record = records.read(store, HEART, "days", YESTERDAY)
    assert record is not None
    assert [version["rows"] for version in record["versions"]] == [303, 293]


def test_the_schedule_asks_for_what_is_outstanding(copied: Platform, tmp_path: Path) -> None:
    schedule = copied.definitions.resolve_schedule_def(f"{HEART}_monitor")

    def asked() -> Any:
        with (
            dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
            dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=datetime.now(UTC),
                repository_def=copied.definitions.get_repository_def(),
                resources=copied.resources,
            ) as context,
        ):
            return schedule.evaluate_tick(context)

    assert asked().skip_message == "every day of the log is judged"
    day_of(copied, log_rows(copied, 0).with_columns(role=pl.lit("shadow")))
    assert [r.partition_key for r in asked().run_requests or []] == [YESTERDAY]
    assert watched(copied) == (True, "not judged: the champion has answered nothing")
    assert not asked().run_requests
