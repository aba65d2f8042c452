"""The component that turns one spec into the graph of one use case."""

from typing import TYPE_CHECKING, Self

import dagster as dg
from pydantic import BaseModel

from mlops_assets import launchpad, step_pods
from mlops_assets.authoring.scaffolder import TabularClassifierScaffolder
from mlops_assets.automation.alerting import alert_sensor
from mlops_assets.automation.fetching import fetch_schedule
from mlops_assets.automation.jobs import ALONE_TAG, PRIORITY_TAG, USE_CASE_TAG
from mlops_assets.automation.landing import landing_sensor
from mlops_assets.automation.monitoring import monitor_schedule
from mlops_assets.automation.retraining import retrain_sensor
from mlops_assets.automation.rolling_out import alias_sensor, rollout_sensor
from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.stages import (
    batch_drift,
    candidates,
    evaluation,
    evidence,
    features,
    gate,
    label_sources,
    live_drift,
    live_labels,
    live_performance,
    predictions,
    promotion,
    raw,
    registered_version,
    rollout,
    sources,
    training_set,
    validated,
)

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )


@dg.scaffold_with(TabularClassifierScaffolder)
class TabularClassifier(UseCase, dg.Component, dg.Resolvable):
    """A tabular binary classifier, from landed files to a model that serves.

    Its spec says what the data are, how they are judged, what is trained and what a version must
    reach. One SQL file, ``dbt_features/models/<name>/<name>_features.sql``, makes its features.
    """

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The schema of the YAML: the spec itself, which knows nothing of Dagster."""
        return UseCase

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Take the spec as it is: it has no templates, so that what is reviewed is what runs."""
        return cls.model_validate(model.model_dump(exclude_unset=True))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The graph, in its order: fetch, ingest, retrain, deploy, score, monitor."""
        model = feature_model(prepare(self.name, self.contract), self.name)
        batches = dg.DynamicPartitionsDefinition(name=f"{self.name}_batches")

        def batch_checks(lineage: dict[str, str]) -> gate.Wanted:
            return evidence.batch_checks(self, model, lineage)

        fetched = [
            *(sources.build(self, source) for source in self.sources),
            *(label_sources.build(self, labels) for labels in self.labels),
        ]
        ingested = [
            raw.build(self, batches),
            validated.build(self, batches),
            features.build(self, batches, model),
            batch_drift.build(self, batches),
        ]
        trained = [
            training_set.build(self, batches, model),
            *(candidates.build(self, algorithm) for algorithm in self.training.candidates),
            evaluation.build(self),
            registered_version.build(self),
            promotion.build(self, batch_checks),
        ]
        deployed = [rollout.build(self)]
        scored = [predictions.build(self, batches)]
        watched = [live_drift.build(self), live_labels.build(self), live_performance.build(self)]

        ingest = self._job("ingest", "One batch: raw, validated, features, drift.", ingested)
        # In the queue, what is nearer to the customer goes first, however many files have landed.
        retrain = self._job("retrain", "Training set to verdict.", trained, priority=1)
        deploy = self._job("deploy", "Make the approved version serve.", deployed, priority=2)
        score = self._job("score", "One batch by the champion.", scored)
        monitor = self._job("monitor", "One day of the prediction log.", watched, priority=-1)
        decided = launchpad.build(self, batch_checks, {USE_CASE_TAG: self.name})
        operated = dg.Definitions(
            jobs=[ingest, retrain, deploy, score, monitor],
            schedules=[monitor_schedule(self, monitor)],
            sensors=[
                landing_sensor(self, ingest.name, batches, model),
                retrain_sensor(self, ingest.name, retrain.name, model),
                rollout_sensor(self, deploy.name),
                alias_sensor(self),
                alert_sensor(self),
            ],
        )
        return dg.Definitions.merge(
            *fetched,
            *ingested,
            *trained,
            *deployed,
            *scored,
            *watched,
            operated,
            decided,
            *self._fetching(fetched),
        )

    def _fetching(self, fetched: list[dg.Definitions]) -> list[dg.Definitions]:
        """The job of the sources, if there are any, and their schedules."""
        if not fetched:
            return []
        # What has landed is ingested first; and no source is fetched twice at once.
        job = self._job("fetch", "The sources: what is new in them lands.", fetched, priority=-1)
        every = [*self.sources, *(labels.source for labels in self.labels)]
        timed = [source for source in every if source.schedule]
        schedules = [fetch_schedule(self, source, job) for source in timed]
        return [dg.Definitions(jobs=[job], schedules=schedules)]

    def _job(
        self, verb: str, description: str, stages: list[dg.Definitions], priority: int = 0
    ) -> "UnresolvedAssetJobDefinition":
        every = [asset for stage in stages for asset in stage.assets or []]
        assets = [asset for asset in every if isinstance(asset, dg.AssetsDefinition)]
        name = f"{self.name}_{verb}"
        executor = step_pods.in_many_pods(self, assets) if verb == "retrain" else None
        return dg.define_asset_job(
            name,
            selection=assets,
            description=description,
            tags={USE_CASE_TAG: self.name, PRIORITY_TAG: str(priority)}
            | ({ALONE_TAG: name} if priority else {})
            # Where steps have pods of their own, that of the run only waits for them.
            | ({} if executor else step_pods.in_one_pod(self, assets)),
            executor_def=executor,
        )
