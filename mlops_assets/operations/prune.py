"""``mlops prune``: removes what no kept version needs, from the storage, MLflow and Dagster.

It may be killed at any point and started again: each object goes as a whole, and what is still
there is found again.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets.lib.records.prediction_log import KINDS
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.retention import (
    Needed,
    judged_long_ago,
    logged_long_ago,
    needed,
    refused_long_ago,
    spent,
    unneeded,
)
from mlops_assets.resources import MlflowTracking

# A run that is at work may have made an object and not yet pointed to it.
YOUNG_SECONDS = 600.0
EXAMPLES = 3


class BusyError(ValueError):
    """Runs are at work; the message names them."""


def is_of(use_case: str, run: dg.DagsterRun) -> bool:
    """Whether a run of Dagster is one of a use case."""
    if run.tags.get("mlops/use_case"):
        return run.tags["mlops/use_case"] == use_case
    keys = run.asset_selection or ()
    return bool(keys) and all(key.path[0] == use_case for key in keys)


class Pruning:
    """One pruning of one use case."""

    def __init__(
        self,
        spec: UseCase,
        store: Storage,
        instance: dg.DagsterInstance,
        mlflow: MlflowTracking,
        *,
        dry_run: bool,
        now: datetime | None = None,
    ) -> None:
        self.spec = spec
        self.store = store
        self.instance = instance
        self.mlflow = mlflow
        self.dry_run = dry_run
        self.now = now or datetime.now(UTC)
        self.oldest = self.now - timedelta(days=spec.retention.days)
        self.oldest_run = self.now - timedelta(days=spec.retention.days_of_runs)

    def run(self) -> Iterator[str]:
        """Remove what may go, and say so.

        Yields:
            A sentence for each kind of thing.

        Raises:
            BusyError: If a run of the use case is at work.
            LedgerError: If the ledger does not hold: what is needed is then unknown.
        """
        runs = self._runs()
        busy = [run.run_id[:8] for run, _ in runs if not run.is_finished]
        if busy and not self.dry_run:
            raise BusyError(
                f"{self.spec.name}: {len(busy)} runs are queued or at work "
                f"({', '.join(busy[:3])}): start Dagster so that they end, or cancel them, and "
                "try again"
            )
        keep = needed(self.store, self.spec, self.now)
        yield f"{self.spec.name}: {len(keep.versions)} versions are kept"
        # MLflow's versions first: they are found by the bundles that are still there.
        yield from self._prune_mlflow(keep)
        yield self._remove("objects no kept version needs", self._unneeded(keep))
        yield self._remove("landed files", list(spent(self.store, self.spec, self.now)))
        for kind in KINDS:
            old = logged_long_ago(self.store, self.spec, kind, self.now)
            yield self._remove(f"days of {kind}", [key for key in old if self._is_old(key)])
        judged = list(judged_long_ago(self.store, self.spec, self.now))
        yield self._remove("records of drift and performance", judged)
        refused = list(refused_long_ago(self.store, self.spec, self.now))
        yield self._remove("files of refused labels", refused)
        leftovers = [k for k in self.store.leftovers(self.spec.name) if self._is_old(k)]
        yield self._remove("half-written files of killed processes", leftovers)
        yield self._prune_dagster(keep, [run for run, at in runs if at < self.oldest_run])

    def _unneeded(self, keep: Needed) -> list[str]:
        found = []
        for key in unneeded(self.store, self.spec, keep):
            kind: Any = key.split("/")[1]
            if self._is_old(key, 86_400 * self.spec.retention.stores.get(kind, 0)):
                found.append(key)
        return found

    def _is_old(self, key: str, seconds: float = 0) -> bool:
        return self.now.timestamp() - self.store.changed(key) > max(seconds, YOUNG_SECONDS)

    def _remove(self, what: str, keys: Sequence[str]) -> str:
        size = sum(file.size for key in keys for file in self.store.files(key))
        for key in keys if not self.dry_run else []:
            self.store.remove(key)
        more = [f"and {len(keys) - EXAMPLES} more"] if len(keys) > EXAMPLES else []
        listed = f": {', '.join([*keys[:EXAMPLES], *more])}" if keys else ""
        return f"  {len(keys)} {what}, {size / 1e6:.1f} MB{listed}"

    def _runs(self) -> list[tuple[dg.DagsterRun, datetime]]:
        """The use case's runs, with the time of their last news."""
        records = self.instance.get_run_records()
        return [
            (record.dagster_run, record.update_timestamp.replace(tzinfo=UTC))
            for record in records
            if is_of(self.spec.name, record.dagster_run)
        ]

    def _prune_dagster(self, keep: Needed, old: Sequence[dg.DagsterRun]) -> str:
        """The results of checks outlive their runs; the last run of each asset stays to be seen."""
        kept = set(keep.runs)
        for key in self.instance.all_asset_keys():
            event = self.instance.get_latest_materialization_event(key)
            kept |= {event.run_id} if event is not None else set()
        partitions = set()
        for run, _ in self._runs():  # newest first
            partition = run.tags.get("dagster/partition")
            if partition is not None and run.is_success and partition not in partitions:
                partitions.add(partition)
                kept.add(run.run_id)
        going = [run for run in old if run.run_id not in kept]
        for run in going if not self.dry_run else []:
            self.instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            self.instance.delete_run(run.run_id)
        return f"  {len(going)} Dagster runs older than {self.spec.retention.days_of_runs:g} days"

    def _prune_mlflow(self, keep: Needed) -> Iterator[str]:
        client = self.mlflow.client()
        model = self.spec.name
        versions = [
            version
            for version in client.search_model_versions(f"name = '{model}'")
            if version.tags.get("bundle") not in keep.versions
            and version.creation_timestamp / 1000 < self.oldest.timestamp()
        ]
        kept = {
            version.run_id
            for version in client.search_model_versions(f"name = '{model}'")
            if version not in versions
        }
        for version in versions if not self.dry_run else []:
            client.delete_model_version(model, version.version)
        numbers = ", ".join(sorted((str(v.version) for v in versions), key=int))
        yield f"  {len(versions)} MLflow versions" + (f": {numbers}" if numbers else "")
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            return
        going, page = [], None
        while True:
            found = client.search_runs(
                [experiment.experiment_id],
                f"attributes.end_time < {int(self.oldest_run.timestamp() * 1000)}",
                page_token=page,
            )
            for run in found:
                family = {run.info.run_id, run.data.tags.get("mlflow.parentRunId")}
                if not family & kept and run.data.tags.get("candidate") not in keep.digests:
                    going.append(run.info.run_id)
            page = found.token
            if not page:
                break
        if not self.dry_run:
            for run_id in going:
                client.delete_run(run_id)
            self._collect(going)
        yield f"  {len(going)} MLflow runs older than {self.spec.retention.days_of_runs:g} days"

    def _collect(self, runs: Sequence[str]) -> None:
        """Have MLflow drop the runs that it has only marked, with their files.

        A server does that itself, where somebody runs ``mlflow gc`` beside its database.
        """
        if not runs or not self.mlflow.tracking_uri.startswith("sqlite"):
            return
        with warnings.catch_warnings():
            # Of MLflow, about type hints of its own.
            warnings.simplefilter("ignore", UserWarning)
            from mlflow.cli import gc

        uri = self.mlflow.tracking_uri
        command = ["--run-ids", ",".join(runs), "--backend-store-uri", uri, "--tracking-uri", uri]
        # In this process, which has imported MLflow: another would spend seconds on it once more.
        with redirect_stdout(io.StringIO()):
            gc.main(command, standalone_mode=False)
