"""Runs that failed, and checks that failed in runs that did not.

The newest finished run of a piece of work says how it stands. Runs that have changed since the last
look are only the hint that there is something to look at, so that looking twice does no harm.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from mlops_assets.alerting.alert import Alert, Seen
from mlops_assets.automation.jobs import ATTEMPTS, GIVEN_UP, SUBJECT_TAG, USE_CASE_TAG, Jobs
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.stages import promotion, rollout
from mlops_assets.stages.checks import UNASKED

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
PARTITION_TAG = "dagster/partition"
PAGE = 50
# Of the same job, to find the newest of the same work.
LATELY = 25
# Another machine's clock may be behind by so much.
OVERLAP = timedelta(seconds=120)
# What happened before the first look, and is no news.
FIRST_LOOK = timedelta(days=1)
# The ledger says it.
BY_LEDGER = (promotion.STAGE, rollout.STAGE)
BLOCKED = "DagsterAssetCheckFailedError"
OF_INTEREST = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


@dataclass(frozen=True)
class Work:
    """What a run was for: a job, or some assets of a button or a backfill, and a partition."""

    job: str
    assets: str
    partition: str

    @classmethod
    def of(cls, run: dg.DagsterRun) -> "Work":
        chosen = run.asset_selection if run.job_name.startswith("__") else None
        assets = ",".join(sorted(key.to_user_string() for key in chosen or ()))
        return cls(run.job_name, assets, run.tags.get(PARTITION_TAG, ""))

    @property
    def key(self) -> str:
        """The subject of its alert."""
        return f"run/{self}"

    def __str__(self) -> str:
        return (self.assets or self.job) + (f" of {self.partition}" if self.partition else "")


class Failing:
    """The failed runs and checks of one use case.

    Attributes:
        ui: Address of Dagster's UI.
    """

    def __init__(self, instance: dg.DagsterInstance, spec: UseCase, ui: str) -> None:
        self.instance = instance
        self.spec = spec
        self.ui = ui

    def look(self, cursor: str | None, now: datetime) -> tuple[Seen, str]:
        """What the runs say that have ended since the last look.

        Args:
            cursor: Of the last look.
            now: With a time zone.

        Returns:
            What was seen, and the next cursor.
        """
        since = datetime.fromisoformat(cursor) if cursor else now - FIRST_LOOK
        records = self.instance.get_run_records(
            dg.RunsFilter(statuses=ENDED, updated_after=min(since, now - OVERLAP)),
            limit=PAGE,
            order_by="update_timestamp",
            ascending=True,
        )
        runs = [record.dagster_run for record in records if self._is_ours(record.dagster_run)]
        seen = Seen()
        # The checks in the order in which they were asked: the last answer holds.
        for run in runs:
            seen = _later(seen, self._checks(run))
        for work in dict.fromkeys(map(Work.of, runs)):
            seen += self._work(work)
        newest = records[-1].update_timestamp.replace(tzinfo=UTC) if records else since
        return seen, max(newest, since).isoformat()

    def _is_ours(self, run: dg.DagsterRun) -> bool:
        if USE_CASE_TAG in run.tags:
            return run.tags[USE_CASE_TAG] == self.spec.name
        return any(key.path[0] == self.spec.name for key in run.asset_selection or ())

    def _checks(self, run: dg.DagsterRun) -> Seen:
        alerts, looked = [], set()
        partition = run.tags.get(PARTITION_TAG, "")
        for event in self._events(run):
            if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                continue
            answer = event.asset_check_evaluation_data
            path, said = answer.asset_key.path, answer.description or ""
            if path[1] in BY_LEDGER:
                continue
            key = "/".join(["check", *path, answer.check_name, *filter(None, [partition])])
            looked.add(key)
            if answer.passed or said.startswith(UNASKED):
                continue
            of = f" of {partition}" if partition else ""
            alerts.append(
                Alert(
                    self.spec.name,
                    key,
                    # Advice, which stops nothing, wakes nobody up.
                    "info" if answer.severity == dg.AssetCheckSeverity.WARN else "warning",
                    f"{'/'.join(path)}{of}: check {answer.check_name} failed",
                    said,
                    "Look at the check and the asset's quarantine or report; a batch that is wrong "
                    "is landed anew or withdrawn.",
                    f"{self.ui}/assets/{'/'.join(path)}?view=checks",
                )
            )
        return Seen(alerts, frozenset(looked))

    def _work(self, work: Work) -> Seen:
        """How a piece of work stands, by its newest finished run."""
        tags = {PARTITION_TAG: work.partition} if work.partition else {}
        lately = dg.RunsFilter(job_name=work.job, tags=tags, statuses=ENDED)
        runs = self.instance.get_runs(lately, limit=LATELY)
        newest = next((run for run in runs if Work.of(run) == work), None)
        looked = frozenset({work.key})
        if newest is None or newest.is_success or (why := self._why(newest)) is None:
            return Seen([], looked)
        given_up = self._given_up(newest)
        do = "Read the run; what it was to do is tried again by itself where a sensor asked for it."
        if given_up:
            do = "Read the run and mend the cause, then launch the job by hand."
        alert = Alert(
            self.spec.name,
            work.key,
            "critical" if given_up else "warning",
            f"{work}: the run failed",
            f"{why} {given_up}".strip(),
            do,
            f"{self.ui}/runs/{newest.run_id}",
        )
        return Seen([alert], looked)

    def _why(self, run: dg.DagsterRun) -> str | None:
        """Which steps failed, or None if only checks stopped the run, which say so themselves.

        The text of an exception is left in the run: it may quote data, or an address.
        """
        steps = []
        for event in self._events(run):
            if event.event_type == dg.DagsterEventType.STEP_FAILURE:
                error = event.step_failure_data.error
                while error is not None and error.cause is not None:
                    error = error.cause
                steps.append((event.step_key or "", error.cls_name if error else ""))
        own = [f"{step} with {kind or 'no word'}" for step, kind in steps if kind != BLOCKED]
        if steps and not own:
            return None
        if own:
            return f"Broken off: {', '.join(own)}."
        return "No step has said why: its process is gone, or it never began."

    def _given_up(self, run: dg.DagsterRun) -> str:
        """That nobody tries again, in the words of the sensors; nothing where somebody does."""
        subject = run.tags.get(SUBJECT_TAG)
        if subject is None:
            return ""
        own = {"deploy": self.spec.rollout.attempts, "retrain": self.spec.retrain.attempts}
        attempts = own.get(run.job_name.removeprefix(f"{self.spec.name}_"), ATTEMPTS)
        partition = run.tags.get(PARTITION_TAG)
        jobs = Jobs(self.instance, run.job_name, attempts)
        said = jobs.request(subject, self.spec.name, partition)
        return said if isinstance(said, str) and GIVEN_UP in said else ""

    def _events(self, run: dg.DagsterRun) -> Iterator[dg.DagsterEvent]:
        entries = self.instance.all_logs(run.run_id, of_type=OF_INTEREST)
        return (entry.dagster_event for entry in entries if entry.dagster_event)


def _later(before: Seen, after: Seen) -> Seen:
    """Both, where a later look at a key replaces the earlier."""
    kept = [alert for alert in before.alerts if alert.key not in after.looked]
    return Seen(kept, before.looked) + after


def without_batches(seen: Seen, keys: Iterable[str], batches: set[str]) -> Seen:
    """What is left where batches were withdrawn: nothing is wrong with what nobody uses.

    Args:
        seen: What was seen.
        keys: Of the open alerts.
        batches: The withdrawn ones.
    """

    def withdrawn(key: str) -> bool:
        return any(key.endswith((f"/{batch}", f" of {batch}")) for batch in batches)

    kept = [alert for alert in seen.alerts if not withdrawn(alert.key)]
    return Seen(kept, seen.looked | {key for key in keys if withdrawn(key)})
