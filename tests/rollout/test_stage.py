"""The asset, the job, the sensor and the command around the steps, with a real instance."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets import launchpad
from mlops_assets.automation.rolling_out import rollout_sensor
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import champion
from mlops_assets.operations.status import as_text, status
from mlops_assets.resources import StorageRoot
from mlops_assets.rollout.control import control
from mlops_assets.stages import rollout
from tests.rollout.small import Small
from tests.serving.bundles import USE_CASE

# There is no traffic here: a laptop goes on.
RULES = {"timeout_seconds": 15, "steps": [{"canary": 25, "minutes": 0.02}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    small = Small(tmp_path_factory.mktemp("stage"), RULES)
    small.crowned()
    with small.serving():
        yield small


def resources(made: Small) -> dict[str, Any]:
    root = StorageRoot(root=made.store.root)
    return {"storage": root, "mlflow": made.mlflow, "target": made.target}


def test_the_asset_shows_each_step(made: Small) -> None:
    made.ledger.append("approved", made.version(2))
    built = rollout.build(made.spec)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset for asset in built.assets or [] if isinstance(asset, dg.AssetsDefinition)],
            instance=instance,
            resources=resources(made),
        )
        assert result.success
        (observed,) = result.get_asset_observation_events()
    assert observed.asset_observation_data.asset_observation.metadata["step"].value == "canary 25 %"
    (materialised,) = result.asset_materializations_for_node(f"{USE_CASE}__rollout")
    shown = str(materialised.metadata["steps"].value)
    assert "| canary 25 % | error rate, above the champion's |" in shown
    passed = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed == {"smoke_test": True, "analysis": True, "alias": True}
    assert made.roles() == {"champion": "2"}


def test_status_shows_the_step_and_a_person_may_hurry_it(
    made: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = made.ledger.append("approved", made.version(3))
    before = desired_state.read(made.store, USE_CASE, "dev")
    about = {name: move[name] for name in ("version", "bundle", "path", "actor")}
    about |= {"decision_of": move["sequence"], "environment": "dev", "before": before}
    made.ledger.append("rolling_out", about)
    rollouts = made.rollout().rollouts
    step = {"name": "canary 25 %", "role": "challenger", "percent": 25, "seconds": 600}
    step["judged"] = {"verdict": "successful", "said": "fine"}
    rollouts.save(move, rollouts.progress(move) | {"steps": [step], "elapsed": 240})
    form = {"action": "pause", "by": "ann", "reason": "x"}
    config = {"ops": {f"{USE_CASE}_control": {"config": form}}}
    jobs = launchpad.build(made.spec, lambda lineage: [], {}).jobs or []
    job = next(each for each in jobs if each.name == f"{USE_CASE}_rollout_control")
    assert isinstance(job, dg.JobDefinition)
    assert job.execute_in_process(config, resources=resources(made)).success
    monkeypatch.setenv("MLOPS_STORAGE_ROOT", made.store.root)
    monkeypatch.setenv("MLOPS_HOME", str(made.home / "nowhere"))
    found = status(made.spec)
    json.dumps(found)
    assert (found["rollout"]["percent"], found["rollout"]["paused_by"]) == (25, "ann")
    line = "canary 25 % (step 1 of 1), 240 of 600 s, so far successful: fine; held by ann"
    assert line in as_text(found)
    said = control(
        made.spec, made.store, made.ledger, made.target, "promote", actor="ann", reason="we know it"
    )
    assert "leaves out its remaining steps" in said
    made.rollout().carry_out(move, "run")
    decisions: list[Any] = [entry["decision"] for entry in made.ledger.verify()]
    assert decisions[-3:] == ["rolling_out", "expedited", "promoted"]
    assert made.roles() == {"champion": "3"}


def test_whoever_was_left_on_trial_is_taken_out(made: Small) -> None:
    entries = made.ledger.verify()
    crowned = champion(entries)
    assert crowned is not None
    other = {"version": "1", "bundle": made.built["1"].path, "digest": made.built["1"].digest}
    roles = desired_state.read(made.store, USE_CASE, "dev") | {"challenger": other}
    desired_state.write(made.store, USE_CASE, "dev", roles, decision=len(entries))
    with dg.DagsterInstance.ephemeral() as instance:
        given = {name: part for name, part in resources(made).items() if name != "mlflow"}
        context = dg.build_sensor_context(instance=instance, resources=given)
        found = rollout_sensor(made.spec, "deploy")(context)
    assert isinstance(found, dg.SensorResult)
    assert len(found.run_requests or []) == 1
    made.rollout().carry_out(crowned, "run")
    assert made.roles() == {"champion": crowned["version"]}
    assert made.ledger.verify() == entries


def test_another_environment_is_not_touched(made: Small, tmp_path: Path) -> None:
    other = Small(tmp_path, RULES, environment="production")
    about = (other.spec, made.store, made.ledger, other.target)
    made.ledger.append("approved", made.version(4))
    with pytest.raises(ValueError, match="no rollout of heart_disease is under way in production"):
        control(*about, "abort", actor="ann", reason="x")
