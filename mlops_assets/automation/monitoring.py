"""The schedule that judges the days of the prediction log."""

from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.automation.jobs import Jobs
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import live_drift, live_labels, live_performance
from mlops_assets.stages.checks import asset_key

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

STAGES = (live_drift, live_labels, live_performance)
MONITOR_CRON = "20 * * * *"
MOST_DAYS = 7


def monitor_schedule(spec: UseCase, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Judges the days of the prediction log that are over and were not, or not with all files.

    It looks every hour, which costs a listing of the log, and asks for nothing where nothing has
    come: so a day is judged soon after it is over, whatever was down at midnight. The newest day
    comes first: what was told on it is then known when the days before are judged.
    """

    @dg.schedule(
        name=job.name,
        job=job,
        cron_schedule=MONITOR_CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Judges the answers of {spec.name}, day by day: drift and performance.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, storage: StorageRoot
    ) -> list[dg.RunRequest] | dg.SkipReason:
        jobs = Jobs(context.instance, job.name)
        if jobs.active():
            return dg.SkipReason("days are being judged")
        store, now = storage.open(), context.scheduled_execution_time
        work: dict[str, dict[str, str]] = {}
        for stage in STAGES:
            for day, digest in stage.outstanding(store, spec, now):
                work.setdefault(day, {})[stage.STAGE] = digest
        answers = [
            jobs.request(
                f"{day}/{digest_of(parts)}",
                spec.name,
                day,
                assets=[asset_key(spec, stage) for stage in parts],
            )
            for day, parts in sorted(work.items(), reverse=True)[:MOST_DAYS]
        ]
        requests = [answer for answer in answers if isinstance(answer, dg.RunRequest)]
        said = [answer for answer in answers if isinstance(answer, str)]
        return requests or dg.SkipReason("; ".join(said) or "every day of the log is judged")

    return schedule
