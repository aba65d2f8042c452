"""Attempts to promote a version whose checks did not pass, for exactly its digests."""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.record import replace

from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.records import current
from mlops_assets.lib.records.history import last_verdict
from mlops_assets.stages import promotion
from mlops_assets.stages.evidence import batch_checks
from tests.platform import DATA, HEART, Platform, checks, platform

Alter = Callable[[dg.AssetCheckEvaluation], dg.AssetCheckEvaluation | None]


def replay(trained: Platform, made: Platform, alter: Alter) -> None:
    """Give a platform what was trained, undecided, with the check results altered on the way."""
    for folder in ("storage", "mlflow"):
        shutil.copytree(trained.home / folder, made.home / folder)
    shutil.rmtree(made.home / "storage" / HEART / "ledger")
    for key in trained.definitions.resolve_asset_graph().asset_check_keys:
        storage = trained.instance.event_log_storage
        for record in storage.get_asset_check_execution_history(key, limit=10):
            evaluation = record.evaluation
            if not isinstance(evaluation, dg.AssetCheckEvaluation):
                continue  # planned by a run that had nothing to judge
            altered = alter(evaluation)
            if altered is not None:
                made.instance.report_runless_asset_event(altered)


@pytest.fixture
def replayed(trained: Platform, tmp_path: Path) -> Iterator[Callable[[Alter], Platform]]:
    """The trained platform before its decision, with its check results altered on the way."""
    with platform(tmp_path) as made:

        def give(alter: Alter) -> Platform:
            replay(trained, made, alter)
            return made

        yield give


def same(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckEvaluation:
    return evaluation


def one(check: str, change: Alter) -> Alter:
    """Alter the results of one check only."""

    def alter(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckEvaluation | None:
        name = f"{evaluation.asset_key.path[-1]}/{evaluation.check_name}"
        return change(evaluation) if name == check else evaluation

    return alter


def decide(made: Platform) -> tuple[bool, list[str]]:
    """Materialise ``promotion`` alone; say whether it approved, and the ledger's decisions."""
    result = made.materialize("promotion")
    return checks(result).get("promotion/gate", (False, ""))[0], [
        entry["decision"] for entry in made.ledger.verify()
    ]


def test_the_same_results_approve(replayed: Callable[[Alter], Platform]) -> None:
    assert decide(replayed(same)) == (True, ["approved"])


def test_no_results_at_all_reject(replayed: Callable[[Alter], Platform]) -> None:
    assert decide(replayed(lambda _: None)) == (False, ["rejected"])


EVERY_STAGE = [
    "raw/readable",
    "validated/quality",
    "features/heart_disease_row_id_unique",
    "training_set/leakage",
    "logistic_regression/beats_dummy",
    "evaluation/floors",
    "registered_version/golden_rows",
]


@pytest.mark.parametrize("check", EVERY_STAGE)
def test_a_result_that_is_missing_rejects(
    replayed: Callable[[Alter], Platform], check: str
) -> None:
    made = replayed(one(check, lambda _: None))
    assert decide(made) == (False, ["rejected"])
    (entry,) = made.ledger.verify()
    assert check.split("/")[1] in entry["reasons"][0]
    assert "no result" in entry["reasons"][0]


@pytest.mark.parametrize("check", ["validated/quality", "evaluation/floors"])
def test_a_result_that_failed_rejects(replayed: Callable[[Alter], Platform], check: str) -> None:
    made = replayed(one(check, lambda e: replace(e, passed=False)))
    assert decide(made) == (False, ["rejected"])


def test_a_warning_is_not_a_pass(replayed: Callable[[Alter], Platform]) -> None:
    warn = dg.AssetCheckSeverity.WARN
    made = replayed(one("evaluation/floors", lambda e: replace(e, passed=False, severity=warn)))
    assert decide(made) == (False, ["rejected"])


def test_a_result_about_another_digest_does_not_count(
    replayed: Callable[[Alter], Platform],
) -> None:
    other = {"subject": dg.MetadataValue.text("0" * 64)}
    made = replayed(
        one("training_set/leakage", lambda e: replace(e, metadata={**e.metadata, **other}))
    )
    assert decide(made) == (False, ["rejected"])


def test_a_later_pass_about_another_batch_hides_no_failure(
    replayed: Callable[[Alter], Platform],
) -> None:
    made = replayed(one("validated/quality", lambda e: replace(e, passed=False)))
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([HEART, "validated"]),
        check_name="quality",
        passed=True,
        metadata={"subject": dg.MetadataValue.text("1" * 64)},
    )
    made.instance.report_runless_asset_event(evaluation)
    assert decide(made) == (False, ["rejected"])


def test_a_changed_bundle_is_rejected(replayed: Callable[[Alter], Platform]) -> None:
    made = replayed(same)
    version = current.read(made.store, HEART, "registered_version")
    assert version is not None
    model = made.store.local(version["bundle"]) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(content)
    assert decide(made) == (False, ["rejected"])
    assert "model.onnx" in made.ledger.verify()[0]["reasons"][0]


def test_floors_that_were_raised_since_the_evaluation_count(
    replayed: Callable[[Alter], Platform],
) -> None:
    made = replayed(same)
    gate = made.spec.gate.model_copy(update={"floors": {"roc_auc": 0.99}})
    spec = made.spec.model_copy(update={"gate": gate})
    model = feature_model(prepare(HEART, spec.contract), HEART)
    built = promotion.build(spec, lambda lineage: batch_checks(spec, model, lineage))
    (asset,) = built.assets or []
    assert isinstance(asset, dg.AssetsDefinition)
    result = dg.materialize(
        [asset], instance=made.instance, resources=made.resources, raise_on_error=False
    )
    assert not result.success
    (entry,) = made.ledger.verify()
    assert entry["decision"] == "rejected"
    assert re.match(r"roc_auc out of fold is at least 0\.8\d\d, below 0\.99", entry["reasons"][0])


@pytest.mark.parametrize("remove", [True, False])
def test_an_evaluation_that_is_gone_or_was_edited_rejects(
    replayed: Callable[[Alter], Platform], remove: bool
) -> None:
    made = replayed(same)
    (path,) = made.store.local(f"{HEART}/evaluations").glob("*.json")
    if remove:
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.6'))
    assert decide(made) == (False, ["rejected"])
    assert "is missing or has changed" in made.ledger.verify()[0]["reasons"][0]


def test_deciding_twice_writes_one_line(replayed: Callable[[Alter], Platform]) -> None:
    made = replayed(same)
    assert decide(made) == (True, ["approved"])
    assert decide(made) == (True, ["approved"])


def test_a_champion_is_judged_again_once_another_version_was(
    replayed: Callable[[Alter], Platform],
) -> None:
    made = replayed(same)
    assert decide(made) == (True, ["approved"])
    (approved,) = made.ledger.verify()
    version = {k: approved[k] for k in ("version", "bundle", "path", "wanted", "batches")}
    made.ledger.append("promoted", version)
    # It serves, and nothing else was judged: nothing to write.
    assert decide(made) == (True, ["approved", "promoted"])
    made.ledger.append("rejected", {**version, "version": "2", "bundle": "2", "wanted": "2"})
    written = ["approved", "promoted", "rejected", "approved"]
    assert decide(made) == (True, written)
    # The retrain sensor finds a verdict about what is accepted, and asks for nothing more.
    assert last_verdict(made.ledger.verify()) == made.ledger.verify()[-1]
    assert decide(made) == (True, written)


def test_a_broken_ledger_takes_no_decision(replayed: Callable[[Alter], Platform]) -> None:
    made = replayed(same)
    decide(made)
    path = made.store.local(f"{HEART}/ledger/00000001.json")
    path.write_text(path.read_text().replace("approved", "promoted"))
    assert not made.materialize("promotion").success
    assert len(made.ledger.entries()) == 1


def test_a_candidate_that_was_changed_is_not_registered(
    replayed: Callable[[Alter], Platform],
) -> None:
    made = replayed(same)
    record = current.read(made.store, HEART, "candidates/logistic_regression")
    assert record is not None
    model = made.store.local(f"{HEART}/candidates/{record['digest']}/model.onnx")
    model.write_bytes(model.read_bytes() + b" ")
    result = made.materialize("registered_version")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "has changed since it was made" in str(failure.step_failure_data.error)


def test_a_bundle_that_the_serving_app_does_not_answer_with_is_rejected(
    replayed: Callable[[Alter], Platform],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = replayed(same)
    broken = tmp_path / "broken"
    broken.mkdir()
    # Every new interpreter ends before it serves; this one is at work already.
    (broken / "sitecustomize.py").write_text("raise SystemExit('no app today')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    found = checks(made.materialize("registered_version"))
    assert found["registered_version/onnx_parity"][0]
    for name in ("golden_rows", "latency"):
        passed, said = found[f"registered_version/{name}"]
        assert not passed
        assert "it ended with status" in said
    assert decide(made) == (False, ["rejected"])


def test_noise_is_rejected(fresh: Platform) -> None:
    header, *rows = (DATA / "heart_cleveland.csv").read_text().splitlines()
    labels = [row.rsplit(",", 1)[1] for row in rows]
    random.Random(1).shuffle(labels)
    shuffled = [f"{row.rsplit(',', 1)[0]},{y}" for row, y in zip(rows, labels, strict=True)]
    key = fresh.land("\n".join([header, *shuffled]) + "\n", "noise.csv")
    assert fresh.ingest(key).success
    result = fresh.run("retrain")
    assert not result.success
    found = checks(result)
    assert not found["logistic_regression/beats_dummy"][0]
    assert not found["evaluation/floors"][0]
    (entry,) = fresh.ledger.verify()
    assert entry["decision"] == "rejected"
    assert any("beats_dummy" in reason for reason in entry["reasons"])
    assert any("floors" in reason for reason in entry["reasons"])
    # It is an answer: nothing is tried again, and nothing is rolled out.
    assert not fresh.tick("retrain").run_requests
    assert not fresh.tick("rollout").run_requests


def test_a_batch_that_failed_a_check_is_left_out_of_the_training_set(fresh: Platform) -> None:
    good = fresh.land(DATA / "heart_cleveland.csv")
    bad = fresh.land(DATA / "heart_hungarian.csv")
    assert fresh.ingest(good).success
    assert fresh.ingest(bad).success
    pointer = fresh.batches.pointer(bad, "validated")
    assert pointer is not None
    verdict = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([HEART, "validated"]),
        check_name="quality",
        passed=False,
        metadata={"subject": dg.MetadataValue.text(pointer["digest"])},
    )
    fresh.instance.report_runless_asset_event(verdict)
    assert fresh.materialize("training_set").success
    record = current.read(fresh.store, HEART, "training_set")
    assert record is not None
    assert [batch["key"] for batch in record["batches"]] == [good]


@pytest.mark.parametrize(
    "path",
    [
        ("training_set",),
        ("candidates", "xgboost"),
        ("evaluation",),
        ("registered_version",),
        ("promotion",),
        ("rollout",),
    ],
)
def test_nothing_can_be_made_by_hand_out_of_order(fresh: Platform, path: tuple[str, ...]) -> None:
    fresh.land(DATA / "heart_cleveland.csv")
    assert not fresh.materialize(*path).success
    assert fresh.ledger.entries() == []
