"""The whole graph on the real Cleveland data."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.lib.bundles.signing import SigningKey
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.records import current
from mlops_assets.lib.spec.card import Card
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.stages.checks import SUBJECT
from serving.bundle.manifest import verify
from serving.bundle.signature import Trust, parse_public_keys, read_signature
from tests.platform import DATA, HEART, Platform, checks, platform, quick_definitions

COLUMNS = [column.name for column in load_spec(HEART).contract.inputs]


def test_every_asset_is_made_with_rows_schema_and_links(trained: Platform) -> None:
    keys = {
        ("raw",): 303,
        ("validated",): 303,
        ("features",): 303,
        ("training_set",): 303,
        ("candidates", "logistic_regression"): None,
        ("candidates", "xgboost"): None,
        ("candidates", "stacked_ensemble"): None,
        ("evaluation",): None,
        ("registered_version",): None,
        ("promotion",): None,
    }
    for path, rows in keys.items():
        event = trained.instance.get_latest_materialization_event(dg.AssetKey([HEART, *path]))
        assert event is not None, path
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert (event.asset_materialization.tags or {})["dagster/data_version"]
        if rows is not None:
            assert metadata["dagster/row_count"].value == rows
            schema = metadata["dagster/column_schema"].value
            assert isinstance(schema, dg.TableSchema)
            assert len(schema.columns) >= 14


def test_the_version_is_approved_by_results_about_its_own_digests(trained: Platform) -> None:
    (entry,) = trained.ledger.verify()
    version = current.read(trained.store, HEART, "registered_version")
    assert version is not None
    manifest = verify(trained.store.local(version["bundle"]), version["digest"])
    assert entry["decision"] == "approved"
    assert entry["bundle"] == version["digest"]
    subjects = {check["subject"] for check in entry["checks"]}
    (batch,) = manifest["lineage"]["batches"]
    assert subjects == {
        batch["receipt"],
        batch["validated"],
        batch["features"],
        manifest["lineage"]["training_set"],
        manifest["lineage"]["candidate"],
        manifest["lineage"]["evaluation"],
        version["digest"],
    }
    assert {check["status"] for check in entry["checks"]} == {"passed"}


def test_the_winner_reaches_what_is_published_for_these_data(trained: Platform) -> None:
    evaluation = current.read(trained.store, HEART, "evaluation")
    assert evaluation is not None
    assert 0.85 <= evaluation["out_of_fold"]["roc_auc"]["value"] <= 0.95
    assert 0.78 <= evaluation["out_of_fold"]["accuracy"]["value"] <= 0.90


def test_mlflow_has_one_finished_run_a_candidate_with_its_trials(trained: Platform) -> None:
    client = trained.mlflow.client()
    experiment = client.get_experiment_by_name(HEART)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.data.tags["dagster_run_id"] for run in runs)
    candidates = {r.data.tags["algorithm"]: r for r in runs if "algorithm" in r.data.tags}
    assert candidates.keys() == trained.spec.training.candidates.keys()
    for name, run in candidates.items():
        assert 0.5 < run.data.metrics["oof_roc_auc_low"] < run.data.metrics["oof_roc_auc"]
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        assert len(children) == (0 if name == "stacked_ensemble" else 2)
        assert all(child.data.metrics["log_loss"] > 0 for child in children)
    stack = candidates["stacked_ensemble"].data.params
    assert stack.keys() > {"logistic_regression.C", "xgboost.max_depth"}
    (evaluation,) = (run for run in runs if "winner" in run.data.tags)
    pictures = {file.path for file in client.list_artifacts(evaluation.info.run_id)}
    assert pictures >= {"calibration.png", "contributions.png", "contest.md", "slices.md"}


def test_mlflow_has_a_challenger_and_no_champion_yet(trained: Platform) -> None:
    client = trained.mlflow.client()
    version = client.get_model_version_by_alias(HEART, "challenger")
    made = current.read(trained.store, HEART, "registered_version")
    assert made is not None
    assert version.tags["bundle"] == made["digest"]
    # The description has as much of the card as MLflow keeps; the run has all of it.
    whole = client.list_artifacts(str(version.run_id))
    assert "card.md" in {file.path for file in whole}
    assert len(str(version.description)) <= 5000
    said = "checks passed. Against the champion: first: there is no champion to compare with.\n"
    assert str(version.description).endswith(said)
    assert trained.mlflow.champion(HEART) is None


def test_no_pickle_is_written_anywhere(trained: Platform) -> None:
    suffixes = {path.suffix for path in trained.home.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".joblib", ".skops"}


def test_the_evaluation_can_be_looked_at(trained: Platform) -> None:
    event = trained.instance.get_latest_materialization_event(dg.AssetKey([HEART, "evaluation"]))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {n: str(v.value) for n, v in event.asset_materialization.metadata.items()}
    pictures = set(re.findall(r"!\[([^]]+)\]\(data:image/png;base64,", metadata["report"]))
    assert pictures == {
        "candidates",
        "ROC and precision-recall",
        "calibration",
        "confusion",
        "cost",
        "contributions",
    }
    assert len(metadata["report"]) < 200_000
    assert all(name in metadata["contest"] for name in trained.spec.training.candidates)
    assert "sex = 1" in metadata["slices"]
    drawn = sorted(Path(metadata["pictures"]).glob("*.png"))
    assert len(drawn) == len(pictures)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_a_batch_shows_its_profile(trained: Platform) -> None:
    event = trained.instance.get_latest_materialization_event(dg.AssetKey([HEART, "validated"]))
    assert event is not None
    assert event.asset_materialization is not None
    profile = str(event.asset_materialization.metadata["profile"].value)
    lines = {line.split("|")[1].strip(): line for line in profile.splitlines()}
    assert "29 to 77, median 56" in lines["age"]
    assert "█" in lines["age"]
    assert "1.3%" in lines["ca"]
    assert lines.keys() >= {column.name for column in trained.spec.contract.every_column}


@pytest.fixture(scope="module")
def again(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("again")) as made:
        key = made.land(DATA / "heart_cleveland.csv")
        assert made.ingest(key).success
        assert made.run("retrain").success
        yield made


def test_a_second_run_from_scratch_gives_the_same_bundle(
    trained: Platform, again: Platform
) -> None:
    first, second = (current.read(p.store, HEART, "registered_version") for p in (trained, again))
    assert first is not None
    assert second is not None
    assert first["digest"] == second["digest"]


def test_a_bundle_is_signed_once_there_is_a_key(
    again: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = current.read(again.store, HEART, "registered_version")
    assert before is not None
    bundle = again.store.local(before["bundle"])
    assert read_signature(bundle) is None
    key = SigningKey.new()
    monkeypatch.setenv("MLOPS_SIGNING_KEY", key.private)
    found = checks(again.materialize("registered_version"))
    passed, said = found["registered_version/signature"]
    assert passed, said
    assert said == f"5 files agree with the manifest; signed by the key {key.id}"
    assert current.read(again.store, HEART, "registered_version") == before
    trust = Trust(parse_public_keys(key.public))
    assert trust.check(bundle, before["digest"]) == f"the signature of key {key.id}"
    client = again.mlflow.client()
    run = str(client.get_model_version(HEART, before["version"]).run_id)
    assert "bundle/manifest.sig" in {f.path for f in client.list_artifacts(run, "bundle")}


def test_a_card_with_empty_sections_fails_until_they_are_filled_in(again: Platform) -> None:
    before = current.read(again.store, HEART, "registered_version")
    silent = again.spec.model_copy(update={"card": Card(intended_use="To teach.")})
    quiet = Platform(again.home, again.instance, quick_definitions(silent), "", spec=silent)
    passed, said = checks(quiet.materialize("registered_version"))["registered_version/card"]
    assert not passed
    assert said.startswith("not filled in: Out-of-scope use, Limits, Ethical considerations: ")
    found = checks(again.materialize("registered_version"))
    assert found["registered_version/card"] == (True, "11 sections are filled in")
    # The same bundle is the same version, with what people say of it by now.
    assert current.read(again.store, HEART, "registered_version") == before
    version = again.mlflow.client().get_model_version_by_alias(HEART, "challenger")
    assert "Not filled in" not in str(version.description)
    assert "**Not a medical device**" in str(version.description)


def test_checks_have_numbers_beside_their_limits(trained: Platform) -> None:
    wanted = {
        ("training_set", "leakage"): {"allowed share"},
        ("training_set", "giveaway"): {"limit"},
        ("training_set", "enough_rows"): {"training rows", "training rows needed"},
        ("evaluation", "floors"): {"roc_auc, lower end out of fold", "roc_auc, floor"},
        ("evaluation", "calibration"): {"calibration slope", "least slope", "largest slope"},
        ("evaluation", "slices"): {"roc_auc, worst gap", "roc_auc, allowed gap"},
        ("registered_version", "onnx_parity"): {"difference", "limit"},
        ("registered_version", "golden_rows"): {"difference", "limit"},
        ("registered_version", "latency"): {"median (ms)", "99th percentile (ms)", "budget (ms)"},
        ("registered_version", "robustness"): {"noise flips", "noise flips, limit"},
        ("registered_version", "card"): {"empty sections"},
    }
    for (stage, name), figures in wanted.items():
        key = dg.AssetCheckKey(dg.AssetKey([HEART, stage]), name)
        storage = trained.instance.event_log_storage
        (record,) = storage.get_asset_check_execution_history(key, limit=1)
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
        found = record.evaluation.metadata
        assert all(isinstance(found[figure].value, float) for figure in figures), (stage, name)


OF_OTHER_JOBS = ("rollout", "predictions", "live_drift", "live_labels", "live_performance")


def test_every_result_names_its_subject_and_its_run(trained: Platform) -> None:
    for key in trained.definitions.resolve_asset_graph().asset_check_keys:
        if key.asset_key.path[-1] in OF_OTHER_JOBS:
            continue
        records = trained.instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        assert records, key
        for record in records:
            evaluation = record.evaluation
            assert evaluation is not None
            assert len(str(evaluation.metadata[SUBJECT].value)) == 64
            assert evaluation.metadata["run"].value == record.run_id


def test_ingesting_again_changes_nothing(fresh: Platform) -> None:
    key = fresh.land(DATA / "heart_cleveland.csv")
    first = checks(fresh.ingest(key))
    pointers = {
        stage: fresh.batches.pointer(key, stage) for stage in ("raw", "validated", "features")
    }
    assert checks(fresh.ingest(key)) == first
    assert pointers == {stage: fresh.batches.pointer(key, stage) for stage in pointers}


def test_a_folder_with_quotes_brackets_and_spaces_in_its_name_works(tmp_path: Path) -> None:
    home = tmp_path / "it's [my] home *"
    home.mkdir()
    with platform(home) as made:
        result = made.ingest(made.land(DATA / "heart_cleveland.csv"))
        assert result.success
        pointer = made.batches.pointer(made.batches.keys()[0], "features")
        assert pointer is not None
        assert portable(pointer["sql"], pointer["location"], COLUMNS)
