"""From an answer of the serving app's log to the landed files."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.records import current
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.lineage import UnknownPredictionError, of_prediction, of_version
from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from serving.prediction_log.log import PredictionLog
from serving.settings import Settings
from tests.platform import DATA, HEART, Platform
from tests.test_cli import mlops

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
ID, OTHER = "a" * 32, "b" * 32
# All that a lineage is read from.
RECORDS = ("bundles", "evaluations", "training_sets", "batches", "landing", "ledger", "current")


def answered(bundle: Bundle, root: str, spool: Path) -> None:
    """Answers of three days, one of them with a shadow beside it, as the app logs them."""
    log = PredictionLog(
        Settings(use_cases=(HEART,), storage_root=root, log_spool=str(spool), log_roll_seconds=0.1)
    )
    example = {column.name: column.example for column in bundle.contract.columns}
    rows = [bundle.contract.validate_row(example)]
    features = bundle.features(rows)
    log.start()
    for role, id_, when in (
        ("champion", OTHER, NOON - 2 * DAY),
        ("champion", ID, NOON - DAY),
        ("shadow", ID, NOON - DAY),
        ("champion", "c" * 32, NOON),
    ):
        stream = log.predictions(bundle, role, "7" if role == "shadow" else "1")
        log.append(stream, when, [id_], ["r"], rows, features, bundle.probabilities(features))
    assert log.stop(30)


@pytest.fixture(scope="module")
def bundle(trained: Platform) -> Bundle:
    record = current.read(trained.store, HEART, "registered_version")
    assert record is not None
    return Bundle.load(trained.store.local(record["bundle"]), record["digest"], HEART)


@pytest.fixture
def home(trained: Platform, bundle: Bundle, tmp_path: Path) -> Path:
    shutil.copytree(trained.home / "storage", tmp_path / "storage")
    answered(bundle, str(tmp_path / "storage"), tmp_path / "spool")
    return tmp_path


def check(found: dict[str, Any], digest: str) -> None:
    first, second = found["answers"]
    assert {first["role"], second["role"]} == {"champion", "shadow"}
    assert first["time"] == "2026-01-30T12:00:00"
    # That of who answered, and not of the shadow.
    assert (found["version"], found["bundle"]) == ("1", digest)
    assert found["training_set"]["rows"] == 303
    assert 0.8 < found["evaluation"]["roc_auc"]["test"]["value"] <= 1
    (batch,) = found["batches"]
    assert batch["file"]["name"] == "heart_cleveland.csv"
    assert batch["file"]["bytes"] == (DATA / "heart_cleveland.csv").stat().st_size
    assert [entry["decision"] for entry in found["decisions"]] == ["approved"]
    json.dumps(found, allow_nan=False)


def test_an_answer_leads_to_the_landed_files(home: Path, bundle: Bundle) -> None:
    store = Storage(home / "storage")
    found = of_prediction(store, HEART, ID)
    check(found, bundle.digest)
    (batch,) = found["batches"]
    assert batch["file"]["there"]
    assert Path(batch["file"]["path"]).read_bytes() == (DATA / "heart_cleveland.csv").read_bytes()
    same = {key: value for key, value in found.items() if key != "answers"}
    assert of_version(store, HEART, "1") == of_version(store, HEART, bundle.digest[:8]) == same


def test_the_log_on_a_store_is_looked_through(
    trained: Platform, bundle: Bundle, s3_root: str, tmp_path: Path
) -> None:
    store = Storage(s3_root)
    for name in RECORDS:
        store.publish(trained.store.local(f"{HEART}/{name}"), f"{HEART}/{name}")
    answered(bundle, s3_root, tmp_path / "spool")
    check(of_prediction(store, HEART, ID), bundle.digest)
    with pytest.raises(UnknownPredictionError, match="files of 2026-01-29 to 2026-01-31"):
        of_prediction(store, HEART, "d" * 32)


def test_what_is_not_known_is_said(home: Path, trained: Platform, bundle: Bundle) -> None:
    said = mlops(home, "lineage", HEART, "nothing")
    assert (said.returncode, said.stdout) == (1, "")
    assert "has no prediction 'nothing' in its log (4 files of 2026-01-29 to 2026-01-31)" in (
        said.stderr
    )
    assert "in its log (which is empty)" in mlops(trained.home, "lineage", HEART, ID).stderr
    assert "has no version '9'" in mlops(home, "lineage", HEART, "--version", "9").stderr
    assert mlops(home, "lineage", HEART).returncode == 2
    manifest = home / "storage" / HEART / "bundles" / bundle.digest / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"algorithm": "', '"algorithm": "x'))
    with pytest.raises(BundleError, match="is not what its digest names"):
        of_version(Storage(home / "storage"), HEART, "1")


def test_the_command_tells_a_person_and_a_program(home: Path, bundle: Bundle) -> None:
    told = mlops(home, "lineage", HEART, ID)
    assert told.returncode == 0, told.stderr
    for word in (
        f"prediction    {ID} of 2026-01-30T12:00:00Z",
        "as champion in dev, version 1",
        f"bundle {bundle.digest[:12]}",
        "303 rows",
        "file        heart_cleveland.csv",
        "ledger        1 ",
    ):
        assert word in told.stdout
    shown = json.loads(mlops(home, "lineage", HEART, "--version", "1", "--json").stdout)
    assert shown["bundle"] == bundle.digest
    assert "answers" not in shown
