"""MLflow, on the resource of ``dagster-mlflow`` with three of its habits changed.

One MLflow run a tracked block (theirs is one a Dagster run, and parallel steps race for it); a
status that tells the truth when the block raises (theirs stays FINISHED) or is killed
(``end_orphans``); and a store that is made under a lock and a temporary name (two processes that
meet a fresh SQLite file crash in its migrations, and one that is killed there breaks it for good).
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg

from mlops_assets.home import MLFLOW_READY
from mlops_assets.lib.storage.root import PARTIAL_PREFIX

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
# The tag that dagster-mlflow puts on its runs.
DAGSTER_RUN = "dagster_run_id"


class TrackedRuns(dg.ConfigurableResource[Any]):
    """Runs of MLflow, one a tracked block.

    Attributes:
        tracking_uri: Store of runs and registered models.
        ui: Address of the MLflow UI, for links.
        dagster_ui: Address of Dagster's UI, for the links back.
    """

    tracking_uri: str
    ui: str
    dagster_ui: str

    def client(self) -> MlflowClient:
        """A client of a store that exists and is up to date.

        Raises:
            ConnectionError: If a server does not answer.
        """
        import mlflow
        from mlflow.exceptions import MlflowException, RestException

        with self._lock():
            self._make_store()
            mlflow.set_tracking_uri(self.tracking_uri)
            client = mlflow.MlflowClient(self.tracking_uri)
            try:
                client.search_experiments(max_results=1)
            except RestException:
                raise  # it answers, and says itself what it has against that
            except MlflowException as error:
                if not self.tracking_uri.startswith("http"):
                    raise
                raise ConnectionError(_away(self.tracking_uri, str(error))) from error
            return client

    def _make_store(self) -> None:
        """Make a local store under a temporary name, and rename it.

        It takes seconds and some hundred statements. A store that was killed half way could be
        neither used nor finished: MLflow finds tables that it is about to make.
        """
        if not self.tracking_uri.startswith(SQLITE):
            return
        path = Path(self.tracking_uri.removeprefix(SQLITE))
        if not path.exists():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            # Whoever holds the lock is alone: these were left by somebody who was killed.
            for left in path.parent.glob(f"{PARTIAL_PREFIX}*"):
                left.unlink()
            partial = path.with_name(f"{PARTIAL_PREFIX}{path.name}")
            make: Any = SqlAlchemyStore  # it has no types
            store = make(f"{SQLITE}{partial}", (path.parent / "artifacts").as_uri())
            store.engine.dispose()
            partial.rename(path)
        path.with_name(MLFLOW_READY).touch()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not self.tracking_uri.startswith(SQLITE):
            yield
            return
        folder = Path(self.tracking_uri.removeprefix(SQLITE)).parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _experiment(self, name: str) -> str:
        """The id of an experiment, made with its artifacts beside a local store."""
        client = self.client()
        with self._lock():
            found = client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            location = None
            if self.tracking_uri.startswith(SQLITE):
                folder = Path(self.tracking_uri.removeprefix(SQLITE)).parent
                location = (folder / "artifacts" / name).as_uri()
            return str(client.create_experiment(name, artifact_location=location))

    @contextmanager
    def run(
        self, context: dg.AssetExecutionContext, experiment: str, tags: Mapping[str, str]
    ) -> Iterator[Any]:
        """Track a block as one MLflow run.

        Args:
            context: Of the asset that is made; its key names the run.
            experiment: Created if it does not exist.
            tags: Added to the run, beside the Dagster run and the asset.

        Yields:
            ``dagster-mlflow``'s object, which has all of MLflow's functions.
        """
        self._experiment(experiment)
        import mlflow
        from dagster_mlflow.resources import MlFlow

        base: Any = MlFlow  # its metaclass adds MLflow's functions at run time

        class TrackedRun(base):  # type: ignore[misc]
            def _get_current_run_id(self, *_: Any, **__: Any) -> None:
                return None

            def _start_run(self, **options: Any) -> None:
                # With its first tags in the same breath: a kill leaves no run without an owner.
                mlflow.start_run(**options, tags=owner)

        asset = context.asset_key.to_user_string()
        run_page = f"{self.dagster_ui}/runs/{context.run.run_id}"
        asset_page = f"{self.dagster_ui}/assets/{'/'.join(context.asset_key.path)}"
        owner = {
            DAGSTER_RUN: context.run.run_id,
            "dagster_run_url": run_page,
            "mlflow.note.content": f"Made by Dagster: [asset {asset}]({asset_page}), "
            f"[run {context.run.run_id[:8]}]({run_page}).",
        }
        try:
            tracked = TrackedRun(
                SimpleNamespace(
                    log=context.log,
                    dagster_run=SimpleNamespace(job_name=asset),
                    run_id=context.run.run_id,
                    resource_config={
                        "experiment_name": experiment,
                        "mlflow_tracking_uri": self.tracking_uri,
                        "extra_tags": {**tags, "dagster_asset": asset},
                    },
                )
            )
            yield tracked
        except BaseException as error:
            killed = (KeyboardInterrupt, SystemExit, dg.DagsterExecutionInterruptedError)
            interrupted = isinstance(error, killed)
            mlflow.end_run(status="KILLED" if interrupted else "FAILED")
            raise
        mlflow.end_run(status="FINISHED")

    def log_trials(self, run: Any, trials: Sequence[Mapping[str, Any]]) -> None:
        """Write the trials of a search as children of a run, each with parameters and loss.

        Args:
            run: The MLflow run of the candidate.
            trials: ``number``, ``log_loss`` and the parameters.
        """
        from mlflow.entities import Metric, Param

        client = self.client()
        now = int(time.time() * 1000)
        tags = {"mlflow.parentRunId": run.info.run_id, "trial": "true"}
        tags[DAGSTER_RUN] = run.data.tags[DAGSTER_RUN]
        for trial in trials:
            child = client.create_run(
                run.info.experiment_id, tags=tags, run_name=f"trial {trial['number']}"
            )
            client.log_batch(
                child.info.run_id,
                metrics=[Metric("log_loss", trial["log_loss"], now, 0)],
                params=[
                    Param(name, str(value))
                    for name, value in trial.items()
                    if name not in ("number", "log_loss")
                ],
            )
            client.set_terminated(child.info.run_id, "FINISHED")

    def orphans(self, instance: dg.DagsterInstance) -> list[tuple[str, dg.DagsterRunStatus]]:
        """The runs that still say RUNNING though their Dagster run has ended.

        Args:
            instance: Knows which Dagster runs have ended; runs of another one are left alone.

        Returns:
            MLflow run and how its Dagster run ended.
        """
        client = self.client()
        experiments = [found.experiment_id for found in client.search_experiments()]
        orphans = []
        page: str | None = None
        while True:
            running = client.search_runs(
                experiments, "attributes.status = 'RUNNING'", page_token=page
            )
            for run in running:
                owner = instance.get_run_by_id(run.data.tags.get(DAGSTER_RUN, ""))
                if owner is not None and owner.is_finished:
                    orphans.append((run.info.run_id, owner.status))
            page = running.token
            if not page:
                return orphans

    def end_orphans(self, instance: dg.DagsterInstance) -> list[str]:
        """End the runs that say RUNNING though their Dagster run has ended.

        Args:
            instance: See ``orphans``.

        Returns:
            The MLflow runs that were ended, as FAILED, or as KILLED where somebody cancelled.
        """
        client, found = self.client(), self.orphans(instance)
        for run_id, status in found:
            canceled = status == dg.DagsterRunStatus.CANCELED
            client.set_terminated(run_id, "KILLED" if canceled else "FAILED")
        return [run_id for run_id, _ in found]

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Where a person sees a run."""
        return f"{self.ui}/#/experiments/{experiment_id}/runs/{run_id}"


def _away(uri: str, said: str) -> str:
    """What is wrong with a server, in a line: without its password, and with the cause alone."""
    cause = re.search(r"Caused by .*: (.+?)['\"]?\)+$", said)
    password = f"{urlsplit(uri).netloc.rpartition('@')[0]}@"
    return f"MLflow at {uri} does not answer: {cause[1] if cause else said}".replace(password, "")
