"""The faults of ``dagster-mlflow`` that are mended: shared runs, false states, a racing store."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.resources import MlflowTracking


@pytest.fixture
def tracking(tmp_path: Path) -> MlflowTracking:
    return MlflowTracking(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", ui="http://ui")


def candidate(name: str, error: BaseException | None) -> dg.AssetsDefinition:
    """An asset that tracks one run, and may raise within it."""

    @dg.asset(name=name)
    def made(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.run(context, "experiment", {"algorithm": name}) as tracked:
            tracked.log_metric("score", 1.0)
            if error is not None:
                raise error

    return made


def runs(tracking: MlflowTracking) -> dict[str, str]:
    """Status by asset, of every run."""
    client = tracking.client()
    experiment = client.get_experiment_by_name("experiment")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["dagster_asset"] for run in found}) == len(found)
    return {run.data.tags["dagster_asset"]: run.info.status for run in found}


def test_two_assets_of_one_run_have_a_run_each(tracking: MlflowTracking) -> None:
    result = dg.materialize(
        [candidate("one", None), candidate("two", None)], resources={"mlflow": tracking}
    )
    assert result.success
    assert runs(tracking) == {"one": "FINISHED", "two": "FINISHED"}


def test_a_failing_asset_leaves_a_failed_run_and_spoils_no_other(tracking: MlflowTracking) -> None:
    result = dg.materialize(
        [candidate("bad", RuntimeError("no")), candidate("good", None)],
        resources={"mlflow": tracking},
        raise_on_error=False,
    )
    assert not result.success
    assert runs(tracking) == {"bad": "FAILED", "good": "FINISHED"}


def test_an_interrupted_asset_leaves_a_killed_run(tracking: MlflowTracking) -> None:
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        dg.materialize(
            [candidate("stopped", dg.DagsterExecutionInterruptedError())],
            resources={"mlflow": tracking},
        )
    assert runs(tracking) == {"stopped": "KILLED"}


def test_processes_that_meet_a_fresh_store_do_not_collide(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code = (
        "from mlops_assets.resources import MlflowTracking;"
        f"MlflowTracking(tracking_uri={uri!r}, ui='').client()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_a_bundle_is_registered_once(tracking: MlflowTracking, tmp_path: Path) -> None:
    dg.materialize([candidate("one", None)], resources={"mlflow": tracking})
    client = tracking.client()
    experiment = client.get_experiment_by_name("experiment")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    arguments = ("heart", bundle, "a" * 64, run.info.run_id, "# Card", {"training_set": "t"})
    assert [tracking.register(*arguments) for _ in range(2)] == ["1", "1"]
    other = ("heart", bundle, "b" * 64, *arguments[3:])
    assert tracking.register(*other) == "2"
    assert str(client.get_model_version_by_alias("heart", "challenger").version) == "2"
    assert tracking.champion("heart") is None
    tracking.crown("heart", "1")
    assert tracking.champion("heart") == "1"
