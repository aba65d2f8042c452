"""Schedules that fetch what is new in the sources."""

from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.automation.jobs import ACTIVE, SOURCE_TAG, USE_CASE_TAG
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.stages import sources

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )


def fetch_schedule(
    spec: UseCase, source: Source, job: "UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    """Fetches a source at the times that its spec names, unless the last fetch is still at work."""

    @dg.schedule(
        name=f"{job.name}_{source.name}",
        job=job,
        cron_schedule=str(source.schedule),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Fetches the source {source.name} of {spec.name}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tags = {USE_CASE_TAG: spec.name, SOURCE_TAG: source.name}
        running = dg.RunsFilter(job_name=job.name, tags=tags, statuses=ACTIVE)
        if context.instance.get_run_records(running, limit=1):
            return dg.SkipReason(f"a fetch of {source.name} is at work")
        return dg.RunRequest(asset_selection=[sources.checks(spec, source).asset], tags=tags)

    return schedule
