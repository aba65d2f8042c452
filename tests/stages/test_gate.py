"""Attempts to promote a version whose checks did not pass, for exactly its digests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.record import replace

from mlops_assets.lib import current
from mlops_assets.lib.dbt_project import feature_model, prepare
from mlops_assets.stages import promotion
from mlops_assets.stages.evidence import batch_checks
from tests.platform import DATA, HEART, Platform, checks, platform

Alter = Callable[[dg.AssetCheckEvaluation], dg.AssetCheckEvaluation | None]


@pytest.fixture
def replayed(trained: Platform, tmp_path: Path) -> Iterator[Callable[[Alter], Platform]]:
    """The trained platform before its decision, with its check results altered on the way."""
    with platform(tmp_path) as made:

        def replay(alter: Alter) -> Platform:
            shutil.copytree(trained.home / "storage", tmp_path / "storage")
            shutil.rmtree(tmp_path / "storage" / HEART / "ledger")
            for key in trained.definitions.resolve_asset_graph().asset_check_keys:
                storage = trained.instance.event_log_storage
                for record in storage.get_asset_check_execution_history(key, limit=10):
                    evaluation = record.evaluation
                    assert isinstance(evaluation, dg.AssetCheckEvaluation)
                    altered = alter(evaluation)
                    if altered is not None:
                        made.instance.report_runless_asset_event(altered)
            return made

        yield replay


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
    model = made.store.path(version["bundle"]) / "model.onnx"
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
    assert "out of fold is below 0.99" in entry["reasons"][0]


@pytest.mark.parametrize("remove", [True, False])
def test_an_evaluation_that_is_gone_or_was_edited_rejects(
    replayed: Callable[[Alter], Platform], remove: bool
) -> None:
    made = replayed(same)
    (path,) = made.store.path(f"{HEART}/evaluations").iterdir()
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


def test_a_broken_ledger_takes_no_decision(replayed: Callable[[Alter], Platform]) -> None:
    made = replayed(same)
    decide(made)
    path = made.store.path(f"{HEART}/ledger/00000001.json")
    path.write_text(path.read_text().replace("approved", "promoted"))
    assert not made.materialize("promotion").success
    assert len(made.ledger.entries()) == 1


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
