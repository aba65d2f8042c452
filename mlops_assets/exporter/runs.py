"""Runs of Dagster: how many ended how, what they took, and what waits.

Runs are pruned, so that counting those that are there would go down, which Prometheus takes for a
restart. So what ends is counted once, from the start of the exporter on; what was before is seen in
the last run of each job.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus as Status

from mlops_assets.automation.jobs import ACTIVE
from mlops_assets.executor import CPU_TAG
from mlops_assets.exporter import metrics
from mlops_assets.exporter.metrics import Sample

ENDED = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]
WAITING = {Status.QUEUED, Status.NOT_STARTED}
# Who writes a run's end has another clock, and may write it late.
OVERLAP = timedelta(minutes=2)

Key = tuple[str, str]


class Runs:
    """The runs of an instance."""

    def __init__(self, instance: dg.DagsterInstance, jobs: Collection[str]) -> None:
        """Begin to count, at zero for every job: rates exist from the start.

        Args:
            instance: Of Dagster.
            jobs: Names of the known ones; others are counted once they have run.
        """
        self._instance = instance
        keys = [(job, _word(status)) for job in jobs for status in ENDED]
        self._ended: Counter[Key] = Counter(dict.fromkeys(keys, 0))
        self._seconds = dict.fromkeys(keys, (0, 0.0))
        self._cpu = dict.fromkeys(keys, (0, 0.0))
        self._last: dict[Key, dg.RunRecord] = {}
        self._since = datetime.now(UTC)
        self._known: dict[str, float] = {}
        for record in self._lately():
            self._known[record.dagster_run.run_id] = record.end_time or 0.0
        for job in jobs:
            for status in ENDED:
                filters = dg.RunsFilter(job_name=job, statuses=[status])
                for record in instance.get_run_records(filters, limit=1):
                    self._last[job, _word(status)] = record

    def __call__(self) -> Iterator[Sample]:
        """What has ended, and what waits."""
        self._count()
        for key, number in self._ended.items():
            yield Sample(metrics.RUNS, key, number)
        for key, both in self._seconds.items():
            yield Sample(metrics.RUN_SECONDS, key, both)
        for key, both in self._cpu.items():
            yield Sample(metrics.RUN_CPU_SECONDS, key, both)
        for key, record in self._last.items():
            yield Sample(metrics.LAST_RUN_TIME, key, record.end_time or 0.0)
            if (took := _seconds(record)) is not None:
                yield Sample(metrics.LAST_RUN_SECONDS, key, took)
            if (cpu := _cpu_seconds(record)) is not None:
                yield Sample(metrics.LAST_RUN_CPU_SECONDS, key, cpu)
        yield from self._active()
        for daemon, status in self._instance.get_daemon_statuses().items():
            if status.last_heartbeat is not None:
                age = time.time() - status.last_heartbeat.timestamp
                yield Sample(metrics.DAEMON_AGE, (daemon.lower(),), max(age, 0.0))

    def _lately(self) -> Iterable[dg.RunRecord]:
        filters = dg.RunsFilter(statuses=ENDED, updated_after=self._since - OVERLAP)
        return self._instance.get_run_records(filters)

    def _count(self) -> None:
        """Count what has ended since the last look; a tag that is added later is no new end."""
        now, oldest = datetime.now(UTC), (self._since - OVERLAP).timestamp()
        for record in self._lately():
            run, ended = record.dagster_run, record.end_time or 0.0
            if run.run_id in self._known or ended < oldest:
                continue
            key = (run.job_name, _word(run.status))
            self._ended[key] += 1
            for sums, value in (
                (self._seconds, _seconds(record)),
                (self._cpu, _cpu_seconds(record)),
            ):
                if value is not None:
                    count, total = sums.get(key, (0, 0.0))
                    sums[key] = (count + 1, total + value)
            last = self._last.get(key)
            if last is None or (last.end_time or 0.0) <= ended:
                self._last[key] = record
            self._known[run.run_id] = ended
        self._since = now
        self._known = {run: ended for run, ended in self._known.items() if ended >= oldest}

    def _active(self) -> Iterator[Sample]:
        records = self._instance.get_run_records(dg.RunsFilter(statuses=ACTIVE))
        active: defaultdict[Key, int] = defaultdict(int)
        for record in records:
            active[record.dagster_run.job_name, _word(record.dagster_run.status)] += 1
        jobs = {job for job, _ in (*self._ended, *active)}
        for job in sorted(jobs):
            for status in ACTIVE:
                key = (job, _word(status))
                yield Sample(metrics.RUNS_ACTIVE, key, active[key])
        waiting = [
            record.create_timestamp.timestamp()
            for record in records
            if record.dagster_run.status in WAITING
        ]
        age = max(time.time() - min(waiting), 0.0) if waiting else 0.0
        yield Sample(metrics.QUEUE_AGE, (), age)


def _word(status: Status) -> str:
    return status.value.lower()


def _seconds(record: dg.RunRecord) -> float | None:
    """How long a run took; None if it never started."""
    if record.start_time is None or record.end_time is None:
        return None
    return max(record.end_time - record.start_time, 0.0)


def _cpu_seconds(record: dg.RunRecord) -> float | None:
    """What a run has written down of itself; None if it was killed, or somebody wrote nonsense."""
    try:
        seconds = float(record.dagster_run.tags[CPU_TAG])
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
