"""No MLflow run says RUNNING for ever: the reaper ends those of Dagster runs that ended badly."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.defs.recovery import mlflow_reaper
from mlops_assets.resources import MlflowTracking


@pytest.fixture
def tracking(tmp_path: Path) -> MlflowTracking:
    return MlflowTracking(
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", ui="http://ui", dagster_ui="http://d"
    )


def tick(
    instance: dg.DagsterInstance, tracking: MlflowTracking, cursor: str | None
) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        result = mlflow_reaper(context, mlflow=tracking)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_killed_asset_leaves_no_mlflow_run_at_work(tracking: MlflowTracking) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        idle = tick(instance, tracking, None)
        assert "no run has ended badly" in str(idle.skip_reason)
        assert "mlflow" not in str(idle.cursor)

        run = create_run_for_test(instance, status=dg.DagsterRunStatus.FAILURE)
        client = tracking.client()
        tags = {"dagster_run_id": run.run_id}
        orphan = client.create_run(client.create_experiment("e"), tags=tags).info.run_id
        result = tick(instance, tracking, idle.cursor)
        assert orphan in str(result.skip_reason)
        assert client.get_run(orphan).info.status == "FAILED"
        assert result.cursor
        assert "no run has ended badly" in str(tick(instance, tracking, result.cursor).skip_reason)


def test_an_idle_tick_does_not_import_mlflow() -> None:
    code = (
        "import sys, dagster as dg\n"
        "from mlops_assets.defs.recovery import mlflow_reaper\n"
        "from mlops_assets.resources import MlflowTracking\n"
        "resource = MlflowTracking(tracking_uri='sqlite:///x.db', ui='', dagster_ui='')\n"
        "with dg.DagsterInstance.ephemeral() as instance:\n"
        "    with dg.build_sensor_context(instance=instance) as context:\n"
        "        mlflow_reaper(context, mlflow=resource)\n"
        "print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
