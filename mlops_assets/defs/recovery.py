"""What puts right, by itself, what a kill has left behind.

Run monitoring (dagster.yaml) fails the runs whose process is gone, and the sensors of the use cases
ask for them again; what is left is MLflow, whose runs would say RUNNING for ever.
"""

from datetime import UTC, datetime

import dagster as dg

from mlops_assets.resources import MlflowTracking

ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
INTERVAL_SECONDS = 5


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends the MLflow runs of Dagster runs that were killed, failed or cancelled.",
)
def mlflow_reaper(context: dg.SensorEvaluationContext, mlflow: MlflowTracking) -> dg.SensorResult:
    """Look whenever a run has ended badly since the last look; at the first look in any case."""
    since = datetime.fromisoformat(context.cursor) if context.cursor else None
    records = context.instance.get_run_records(
        dg.RunsFilter(statuses=ENDED_BADLY, updated_after=since),
        limit=1,
        order_by="update_timestamp",
    )
    if not records:
        return dg.SensorResult(skip_reason="no run has ended badly since the last look")
    latest = records[0].update_timestamp.replace(tzinfo=UTC).isoformat()
    ended = mlflow.end_orphans(context.instance)
    said = f"ended {len(ended)} MLflow runs" + (f": {', '.join(ended)}" if ended else "")
    if ended:
        context.log.info(said)
    return dg.SensorResult(skip_reason=said, cursor=latest)


@dg.definitions
def recovery() -> dg.Definitions:
    """The sensor."""
    return dg.Definitions(sensors=[mlflow_reaper])
