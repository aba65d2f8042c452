"""The sensor that trains when the retrain policy says so."""

from datetime import UTC, datetime

import dagster as dg

from mlops_assets.automation.jobs import GIVEN_UP, INTERVAL_SECONDS, Jobs, result
from mlops_assets.automation.retrain_facts import look
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.retraining.policy import Decision, decide
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import promotion


def retrain_sensor(
    spec: UseCase, ingest: str, job: str, model: FeatureModel
) -> dg.SensorDefinition:
    """Trains by the retrain policy, and says once what a person should know."""

    @dg.sensor(
        name=f"{spec.name}_retrain",
        job_name=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains {spec.name} when its retrain policy says so.",
    )
    def sensor(context: dg.SensorEvaluationContext, storage: StorageRoot) -> dg.SensorResult:
        if Jobs(context.instance, ingest).active():
            return result(context, [], "batches are being ingested")
        found = look(context.instance, storage.open(), spec, model, job, datetime.now(UTC))
        if found is None:
            return result(context, [], "no batch has been accepted yet")
        decision = decide(spec.retrain, spec.retrain_floors, found.facts)
        answers: list[dg.RunRequest | str] = []
        if decision.trigger is not None:
            jobs = Jobs(context.instance, job, spec.retrain.attempts)
            answer = jobs.request(found.subject, spec.name, tags=decision.tags())
            if isinstance(answer, str):
                decision = Decision(None, answer, answer if GIVEN_UP in answer else "")
            answers.append(answer)
        events = []
        if decision.trouble != (context.cursor or ""):
            if decision.trouble and not answers:
                context.log.error(decision.reason)
            events.append(promotion.retrain_result(spec, decision))
            # An empty cursor in the result would leave the old one.
            context.update_cursor(decision.trouble)
        return result(context, answers, decision.reason, events=events)

    return sensor
