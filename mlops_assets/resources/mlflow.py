"""MLflow, on the resource of ``dagster-mlflow`` with three of its habits changed.

One MLflow run a tracked block (theirs is one a Dagster run, and parallel steps race for it); a
status that tells the truth when the block raises (theirs stays FINISHED); and a store that is
created under a lock (two processes that meet a fresh SQLite file crash in its migrations).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.home import MLFLOW_READY

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


class MlflowTracking(dg.ConfigurableResource[Any]):
    """Runs and registered models.

    Attributes:
        tracking_uri: Store of runs and registered models.
        ui: Address of the MLflow UI, for links.
    """

    tracking_uri: str
    ui: str

    def client(self) -> MlflowClient:
        """A client of a store that exists and is up to date."""
        import mlflow

        with self._lock():
            mlflow.set_tracking_uri(self.tracking_uri)
            client = mlflow.MlflowClient(self.tracking_uri)
            client.search_experiments(max_results=1)
            if self.tracking_uri.startswith(SQLITE):
                Path(self.tracking_uri.removeprefix(SQLITE)).with_name(MLFLOW_READY).touch()
            return client

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
                mlflow.start_run(**options)

        asset = context.asset_key.to_user_string()
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
        try:
            yield tracked
        except BaseException as error:
            killed = (KeyboardInterrupt, SystemExit, dg.DagsterExecutionInterruptedError)
            interrupted = isinstance(error, killed)
            mlflow.end_run(status="KILLED" if interrupted else "FAILED")
            raise
        mlflow.end_run(status="FINISHED")

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Where a person sees a run."""
        return f"{self.ui}/#/experiments/{experiment_id}/runs/{run_id}"

    def version_url(self, name: str, version: str) -> str:
        """Where a person sees a registered version."""
        return f"{self.ui}/#/models/{name}/versions/{version}"

    def register(
        self, name: str, bundle: Path, digest: str, run_id: str, card: str, tags: Mapping[str, str]
    ) -> str:
        """Register a bundle as a version, once a digest, and give it the alias ``challenger``.

        Args:
            name: Of the registered model.
            bundle: Folder of the bundle; logged to the run that trained its model.
            digest: Of the bundle; a version that carries it is found and not made again.
            run_id: The MLflow run that trained the model.
            card: The model card, Markdown.
            tags: Added to a new version.

        Returns:
            The version.
        """
        client = self.client()
        with self._lock():
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            versions = client.search_model_versions(f"name = '{name}'")
            known = [v.version for v in versions if v.tags.get("bundle") == digest]
            if known:
                version = str(min(known, key=int))
            else:
                client.log_artifacts(run_id, str(bundle), "bundle")
                source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
                made = client.create_model_version(
                    name, source, run_id, tags={**tags, "bundle": digest}, description=card
                )
                version = str(made.version)
            client.set_registered_model_alias(name, "challenger", version)
        return version

    def crown(self, name: str, version: str) -> None:
        """Move the alias ``champion``. Only the end of a rollout may call this."""
        self.client().set_registered_model_alias(name, "champion", version)

    def champion(self, name: str) -> str | None:
        """The version that holds the alias ``champion``."""
        found = self.client().search_registered_models(f"name = '{name}'")
        version = found[0].aliases.get("champion") if found else None
        return None if version is None else str(version)
