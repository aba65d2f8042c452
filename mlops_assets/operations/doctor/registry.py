"""MLflow in one examination: asked whether it answers once, for all who want something of it.

Every question to a server that is away waits as long as the one before.
"""

from collections.abc import Iterator
from functools import cached_property

from mlops_assets import home
from mlops_assets.instance import has_instance, open_instance
from mlops_assets.operations.doctor.finding import Finding
from mlops_assets.resources.mlflow import MlflowTracking, tracking

SERVES_ON = "see docs/operations/unreachable-registry.md: what serves goes on"


class Registry:
    """The tracking store, with its runs and registered models."""

    @cached_property
    def mlflow(self) -> MlflowTracking:
        """The store as the environment names it."""
        return tracking()

    @cached_property
    def problem(self) -> str | None:
        """Why it cannot be asked, or None; a store that cannot be used raises what it has."""
        try:
            self.mlflow.client()
        except ConnectionError as error:
            return str(error)
        return None

    def look(self) -> Iterator[Finding]:
        """Whether the store opens, and runs that nobody will end."""
        uri = home.mlflow_uri()
        if uri.startswith("sqlite") and not (home.mlflow_folder() / home.MLFLOW_READY).exists():
            yield Finding("MLflow", "ok", "no store yet; the first training makes it")
            return
        if self.problem:
            yield Finding("MLflow", "fail", self.problem, SERVES_ON)
            return
        # Runs belong to runs of Dagster: without an instance nobody's have ended.
        orphans = []
        if has_instance():
            with open_instance() as instance:
                orphans = self.mlflow.orphans(instance)
        if orphans:
            said = f"{len(orphans)} runs say RUNNING though their Dagster run has ended"
            do = "start Dagster: its sensor mlflow_reaper ends them"
            yield Finding("MLflow", "warn", said, do)
        else:
            yield Finding("MLflow", "ok", "the store opens; no run is left RUNNING")
