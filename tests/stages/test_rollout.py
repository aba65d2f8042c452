"""Making a version serve: with the real serving app, and without one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.records import desired_state
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.rollout.smoke_test import smoke_test
from tests.platform import HEART, Platform, checks, impatient_spec, platform, serving

PATIENT = {
    "age": 63, "sex": 1, "cp": 3, "trestbps": 145, "chol": 233, "fbs": 1, "restecg": 0,
    "thalach": 150, "exang": 0, "oldpeak": 2.3, "slope": 0, "ca": 0, "thal": 1,
}  # fmt: skip


PROMOTED = ["approved", "rolling_out", "promoted"]
ABORTED = ["approved", "rolling_out", "aborted"]


@pytest.fixture
def approved(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    """An approved version; the serving app of its storage may be started with ``serve``."""
    for folder in ("storage", "mlflow"):
        shutil.copytree(trained.home / folder, tmp_path / folder)
    with platform(tmp_path, f"http://127.0.0.1:{free_port()}", spec=impatient_spec()) as made:
        yield made


@pytest.fixture
def serve(approved: Platform) -> Iterator[None]:
    with serving(approved):
        yield


def decisions(made: Platform) -> list[str]:
    return [entry["decision"] for entry in made.ledger.verify()]


@pytest.mark.usefixtures("serve")
def test_the_approved_version_answers_and_is_crowned(approved: Platform) -> None:
    result = approved.run("deploy")
    assert result.success
    assert checks(result)["rollout/smoke_test"][0]
    assert decisions(approved) == PROMOTED
    entry = approved.ledger.entries()[-1]
    role = desired_state.read(approved.store, HEART, "dev")["champion"]
    assert role["digest"] == entry["bundle"]
    assert approved.mlflow.champion(HEART) == entry["version"]
    answer = approved.target.predict(HEART, PATIENT)
    assert answer["version"] == entry["version"]
    assert answer["use_case"] == HEART
    assert 0 < answer["probability"] < 1
    assert answer["class"] == int(answer["probability"] >= answer["threshold"])
    # Once more: it is the same state, and no second decision.
    assert approved.run("deploy").success
    assert decisions(approved) == PROMOTED


@pytest.mark.usefixtures("serve")
def test_a_rollout_killed_before_the_alias_is_finished_by_the_next(approved: Platform) -> None:
    entry = approved.ledger.entries()[-1]
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    desired_state.write(approved.store, HEART, "dev", {"champion": {**role, "percent": 100}})
    assert approved.run("deploy").success
    assert decisions(approved) == PROMOTED
    assert approved.mlflow.champion(HEART) == entry["version"]


@pytest.mark.usefixtures("serve")
def test_a_rollout_killed_before_the_ledger_line_is_asked_for_again(approved: Platform) -> None:
    version = approved.ledger.entries()[-1]["version"]
    approved.mlflow.crown(HEART, version)
    (request,) = approved.tick("rollout").run_requests or []
    assert request.tags["mlops/use_case"] == HEART
    assert approved.run("deploy").success
    assert decisions(approved) == PROMOTED
    assert approved.mlflow.champion(HEART) == version


@pytest.mark.usefixtures("serve")
def test_a_champion_that_mlflow_does_not_know_is_not_promoted(approved: Platform) -> None:
    store = approved.home / "mlflow" / "mlflow.db"
    kept = store.read_bytes()
    store.write_text("this is no database")
    assert not approved.run("deploy").success
    assert decisions(approved) == ["approved", "rolling_out"]
    store.write_bytes(kept)
    assert len(approved.tick("rollout").run_requests or []) == 1
    assert approved.run("deploy").success
    assert decisions(approved) == PROMOTED


@pytest.mark.usefixtures("serve")
def test_an_app_that_answers_something_else_fails_the_smoke_test(approved: Platform) -> None:
    assert approved.run("deploy").success
    entry = approved.ledger.entries()[-1]
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    said, _ = smoke_test(approved.store, approved.target, approved.spec, role)
    assert "as expected" in said
    with pytest.raises(TargetError, match="answered in place of 7"):
        smoke_test(approved.store, approved.target, approved.spec, role | {"version": "7"})
    other = approved.store.local(f"{HEART}/bundles/other")
    shutil.copytree(approved.store.local(entry["path"]), other)
    rows = pl.read_parquet(other / "golden.parquet")
    shifted = rows.with_columns(pl.col("expected_probability") + 1e-4)
    shifted.write_parquet(other / "golden.parquet")
    with pytest.raises(TargetError, match="training said"):
        smoke_test(
            approved.store,
            approved.target,
            approved.spec,
            role | {"bundle": f"{HEART}/bundles/other"},
        )


def test_without_a_serving_app_the_old_state_comes_back(approved: Platform) -> None:
    result = approved.run("deploy")
    assert not result.success
    passed, said = checks(result)["rollout/smoke_test"]
    assert not passed
    assert "no serving app answers" in said
    assert decisions(approved) == ABORTED
    assert desired_state.read(approved.store, HEART, "dev") == {}
    assert approved.mlflow.champion(HEART) is None


@pytest.mark.usefixtures("serve")
def test_a_changed_bundle_is_not_rolled_out(approved: Platform) -> None:
    entry = approved.ledger.entries()[-1]
    (approved.store.local(entry["path"]) / "features.sql").write_text("select 1")
    result = approved.run("deploy")
    assert not result.success
    assert "features.sql" in checks(result)["rollout/smoke_test"][1]
    assert decisions(approved) == ABORTED


def test_the_sensor_waits_for_a_serving_app(approved: Platform) -> None:
    result = approved.tick("rollout")
    assert not result.run_requests
    assert "no serving app answers" in str(result.skip_reason)


def test_the_champion_once_more_without_an_app_stays_the_champion(approved: Platform) -> None:
    entry = approved.ledger.entries()[-1]
    approved.ledger.append(
        "promoted",
        {name: entry[name] for name in ("version", "bundle", "path", "training_set", "wanted")},
    )
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    state = {"champion": {**role, "percent": 100}}
    desired_state.write(approved.store, HEART, "dev", state)
    assert not approved.run("deploy").success
    assert decisions(approved) == ["approved", "promoted"]
    assert desired_state.read(approved.store, HEART, "dev") == state
