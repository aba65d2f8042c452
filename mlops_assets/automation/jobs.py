"""Asking for runs: one at a time for one piece of work, and not for ever."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from mlops_assets.lib.digests import short

# The sensor daemon looks every few seconds; a smaller number makes no difference.
INTERVAL_SECONDS = 1
SUBJECT_TAG = "mlops/subject"
USE_CASE_TAG = "mlops/use_case"
SOURCE_TAG = "mlops/source"
# Runs with an equal value wait for each other (dagster.yaml).
ALONE_TAG = "mlops/alone"
PRIORITY_TAG = "dagster/priority"
ATTEMPTS = 3
# Dagster writes why a run has failed; it has nothing to write about a process that is gone.
FAILURE_REASON_TAG = "dagster/failure_reason"
OWN_FAILURES = {"STEP_FAILURE", "RUN_EXCEPTION", "JOB_INITIALIZATION_FAILURE"}
MOST_RUNS = 30
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
GIVEN_UP = "is not tried again"


class Jobs:
    """Asks for a run unless one is at work or enough have failed."""

    def __init__(self, instance: dg.DagsterInstance, job: str, attempts: int = ATTEMPTS) -> None:
        self.instance = instance
        self.job = job
        self.attempts = attempts

    def active(self) -> bool:
        """Whether a run of the job is queued or at work."""
        return bool(
            self.instance.get_run_records(
                dg.RunsFilter(job_name=self.job, statuses=ACTIVE), limit=1
            )
        )

    def failed(self, answered: Collection[str]) -> list[datetime]:
        """When the last runs ended that came to no answer, the newest first.

        Args:
            answered: Runs that did, though they are failures: the answer was no.

        Returns:
            The failures since the last answer; runs that were killed are left out.
        """
        records = self.instance.get_run_records(dg.RunsFilter(job_name=self.job), limit=MOST_RUNS)
        ended = []
        for record in records:
            run = record.dagster_run
            if run.is_success or run.run_id in answered:
                break
            if run.is_finished and _ended_by_itself(run):
                ended.append(
                    datetime.fromtimestamp(record.end_time, UTC)
                    if record.end_time is not None
                    else record.update_timestamp.replace(tzinfo=UTC)
                )
        return ended

    def request(
        self,
        subject: str,
        use_case: str,
        partition: str | None = None,
        tags: Mapping[str, str] | None = None,
        assets: Sequence[dg.AssetKey] | None = None,
    ) -> dg.RunRequest | str:
        """A request for the next attempt at a subject, or the reason why there is none.

        Args:
            subject: Digest of the work to be done.
            use_case: Whose work.
            partition: Partition key of the run, if it has one.
            tags: What else the run says of itself.
            assets: Those of the job that are wanted, or None for all of them.
        """
        own = {SUBJECT_TAG: subject, USE_CASE_TAG: use_case}
        runs = self.instance.get_runs(dg.RunsFilter(job_name=self.job, tags=own))
        if any(not run.is_finished for run in runs):
            return f"{self.job} is at work on {partition or short(subject)}"
        # A run that was killed says nothing about its work; only very many of them do.
        ended = [run for run in runs if _ended_by_itself(run)]
        if len(ended) >= self.attempts or len(runs) >= MOST_RUNS:
            return (
                f"{self.job} has run {len(runs)} times without an answer on "
                f"{partition or short(subject)} and {GIVEN_UP}: look at run {runs[0].run_id}, "
                "then launch the job by hand"
            )
        return dg.RunRequest(
            run_key=f"{self.job}:{subject}:{len(runs)}",
            partition_key=partition,
            tags={**(tags or {}), **own},
            asset_selection=assets,
        )


def _ended_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a run came to an end of its own, and was not killed, interrupted or never started."""
    return not run.is_failure or run.tags.get(FAILURE_REASON_TAG) in OWN_FAILURES


def result(
    context: dg.SensorEvaluationContext,
    answers: list[dg.RunRequest | str],
    otherwise: str,
    partitions: Sequence[dg.AddDynamicPartitionsRequest] = (),
    events: Sequence[dg.AssetCheckEvaluation] = (),
) -> dg.SensorResult:
    """What a tick says: the runs it asks for, or why it asks for none."""
    requests = [answer for answer in answers if isinstance(answer, dg.RunRequest)]
    said = [answer for answer in answers if isinstance(answer, str)]
    for line in said:
        if GIVEN_UP in line:
            context.log.error(line)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("; ".join(said) or otherwise),
        dynamic_partitions_requests=partitions,
        asset_events=events,
    )
