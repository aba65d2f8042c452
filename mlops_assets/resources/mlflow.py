"""Registered models in MLflow: versions with their cards, and aliases.

The ledger decides, and what stands here follows it, for the people and tools that look at MLflow.
Nothing follows what is moved here by hand; it is noticed and reported.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_assets import home
from mlops_assets.lib.evaluation.model_card import decided, shortened
from mlops_assets.resources.tracked_runs import TrackedRuns
from serving.bundle.manifest import SIGNATURE

# Of the run that trained the model.
CARD = "card.md"


class MlflowTracking(TrackedRuns):
    """Runs and registered models."""

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
            card: The model card, Markdown: the version's description, and ``CARD`` of its run.
            tags: Added to a new version.

        Returns:
            The version.
        """
        client = self.client()
        with self._lock():
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            versions = client.search_model_versions(f"name = '{name}'")
            known = [v for v in versions if v.tags.get("bundle") == digest]
            described = shortened(card)
            if known:
                first = min(known, key=lambda each: int(each.version))
                version, run_id = str(first.version), str(first.run_id)
                # What people say of it, or what was decided, may have changed since.
                client.update_model_version(name, version, description=described)
                if (bundle / SIGNATURE).is_file():
                    # It may have been signed, or signed anew, since it was registered.
                    client.log_artifact(run_id, str(bundle / SIGNATURE), "bundle")
            else:
                client.log_artifacts(run_id, str(bundle), "bundle")
                source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
                made = client.create_model_version(
                    name, source, run_id, tags={**tags, "bundle": digest}, description=described
                )
                version = str(made.version)
            client.log_text(run_id, card, CARD)
            client.set_registered_model_alias(name, "challenger", version)
        return version

    def run_of_adopted(
        self, name: str, digest: str, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> str:
        """The run that a version hangs on whose model was trained elsewhere; made once a digest.

        Args:
            name: Of the registered model.
            digest: Of the bundle.
            tags: Of a new run.
            metrics: Of a new run.

        Returns:
            The run of the version, where the bundle is registered already.
        """
        from mlflow.entities import Metric

        experiment, client = self._experiment(name), self.client()
        for version in client.search_model_versions(f"name = '{name}'"):
            if version.tags.get("bundle") == digest:
                return str(version.run_id)
        with self._lock():
            found = client.search_runs([experiment], f"tags.adopted = '{digest}'", max_results=1)
            made = found[0] if found else None
            if made is None:
                asked = {**tags, "adopted": digest}
                made = client.create_run(experiment, tags=asked, run_name=f"{name}/adopted")
            # Again, where it was killed in between.
            now = int(time.time() * 1000)
            scores = [Metric(metric, value, now, 0) for metric, value in metrics.items()]
            client.log_batch(made.info.run_id, metrics=scores)
            client.set_terminated(made.info.run_id)
        return str(made.info.run_id)

    def crown(self, name: str, version: str) -> None:
        """Move the alias ``champion``. Only the end of a rollout may call this."""
        self.client().set_registered_model_alias(name, "champion", version)

    def champion(self, name: str) -> str | None:
        """The version that holds the alias ``champion``."""
        found = self.client().search_registered_models(f"name = '{name}'")
        version = found[0].aliases.get("champion") if found else None
        return None if version is None else str(version)

    def describe(
        self, name: str, entry: Mapping[str, Any], promoted: Mapping[str, Any] | None = None
    ) -> None:
        """Put what was decided about a version below its model card.

        Args:
            name: Of the registered model.
            entry: Of the ledger: who decided, and why.
            promoted: Of the ledger: since when it serves.
        """
        client = self.client()
        # Its bars of progress are lines in a log.
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        version = client.get_model_version(name, entry["version"])
        run_id = str(version.run_id)
        text = version.description or ""
        if any(file.path == CARD for file in client.list_artifacts(run_id)):
            # The description may have been too short for the whole of it.
            with tempfile.TemporaryDirectory() as scratch:
                text = Path(client.download_artifacts(run_id, CARD, scratch)).read_text("utf-8")
        text = decided(text, entry, promoted)
        client.log_text(run_id, text, CARD)
        client.update_model_version(name, entry["version"], description=shortened(text))


def tracking() -> MlflowTracking:
    """MLflow as this process is told of it by its environment."""
    return MlflowTracking(
        tracking_uri=home.mlflow_uri(), ui=home.url("mlflow"), dagster_ui=home.url("dagster")
    )
