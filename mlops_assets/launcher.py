"""A run launcher for one machine that notices when a run's process is gone.

Dagster's own launcher cannot tell: after a kill or a power cut its runs stay "started" for ever,
and whatever waits for them waits as long. With run monitoring on, this one has them failed within
seconds of the next start.
"""

import time
from datetime import UTC, datetime

import psutil
from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

# A process starts before it reports so; clocks differ by a little.
TOLERANCE_SECONDS = 5.0
REPORT_SECONDS = 60.0


class LocalRunLauncher(DefaultRunLauncher):
    """The default launcher with a health check."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Look for the process that said it had started for the run.

        A process number may have been given to somebody else since: a process that is younger than
        the report is not the run's.
        """
        reported = reported_process(self._instance, run.run_id)
        if reported is None:
            return self._without_a_report(run.run_id)
        pid, moment = reported
        if is_alive(pid, moment):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        current = self._instance.get_run_by_id(run.run_id)
        if current is None or current.is_finished:
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        at = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"process {pid}, started {at}, is gone", run_worker_id=str(pid)
        )

    def _without_a_report(self, run_id: str) -> CheckRunHealthResult:
        """Judge a run that somebody executes in a process of their own, as the command line does.

        It is marked as started a moment before its process reports.
        """
        record = self._instance.get_run_record_by_id(run_id)
        if record is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "there is no such run")
        started = record.start_time or record.create_timestamp.timestamp()
        if time.time() - started > REPORT_SECONDS:
            return CheckRunHealthResult(WorkerStatus.FAILED, "no process has reported a start")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def reported_process(instance: DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The process that said it had started for a run, and when; None while none has."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or not event.is_engine_event:
            continue
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None


def is_alive(pid: int, reported: float) -> bool:
    """Whether the process that reported a start at a moment is still there.

    Args:
        pid: Its number, which somebody else may have by now.
        reported: When it said so, in seconds since the epoch.
    """
    try:
        process = psutil.Process(pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.create_time() <= reported + TOLERANCE_SECONDS
        )
    except psutil.NoSuchProcess:
        return False
