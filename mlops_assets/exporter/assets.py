"""Freshness of the assets and the last answers of their checks, from Dagster's instance."""

import time
from collections.abc import Collection, Iterator

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ANSWERED,
)
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from mlops_assets.exporter import metrics
from mlops_assets.exporter.metrics import Sample

PLANNED = AssetCheckExecutionRecordStatus.PLANNED


class Assets:
    """The assets of the use cases."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        use_cases: Collection[str],
        checks: Collection[dg.AssetCheckKey],
    ) -> None:
        """Nothing is asked yet.

        Args:
            instance: Of Dagster.
            use_cases: Names; an asset of another first part is nobody's.
            checks: Those that the graph declares: the instance knows no list of them.
        """
        self._instance = instance
        self._use_cases = use_cases
        self._checks = [key for key in checks if key.asset_key.path[0] in use_cases]

    def __call__(self) -> Iterator[Sample]:
        """One sample an asset that was ever made, one or two a check that was ever asked."""
        keys = [key for key in self._instance.get_asset_keys() if key.path[0] in self._use_cases]
        now = time.time()
        for asset in self._instance.get_asset_records(keys) if keys else []:
            made = asset.asset_entry.last_materialization_record
            if made is not None:
                age = max(now - made.timestamp, 0.0)
                yield Sample(metrics.ASSET_AGE, _labels(asset.asset_entry.asset_key), age)
        storage = self._instance.event_log_storage
        latest = storage.get_latest_asset_check_execution_by_key(self._checks)
        for key in self._checks:
            record, labels = latest.get(key), (*_labels(key.asset_key), key.name)
            if record is not None and record.status == PLANNED:
                # It is at work, or it raised: then it will never answer.
                run = self._instance.get_run_by_id(record.run_id)
                if run is None or run.is_finished:
                    yield Sample(metrics.CHECK_FAILED, labels, 1.0)
                    continue
                before = storage.get_asset_check_execution_history(key, limit=1, status=ANSWERED)
                record = before[0] if before else None
            if record is not None:
                yield _answer(record, labels)


def _answer(record: AssetCheckExecutionRecord, labels: tuple[str, ...]) -> Sample:
    event = record.event and record.event.dagster_event
    assert event is not None
    found = event.asset_check_evaluation_data
    advice = found.severity == dg.AssetCheckSeverity.WARN
    measure = metrics.CHECK_WARNED if advice else metrics.CHECK_FAILED
    return Sample(measure, labels, float(not found.passed))


def _labels(key: dg.AssetKey) -> tuple[str, str]:
    use_case, *path = key.path
    return use_case, "/".join(path)
