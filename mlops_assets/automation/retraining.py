"""The sensor that trains when the accepted data are others."""

import dagster as dg

from mlops_assets.automation.jobs import INTERVAL_SECONDS, Jobs, result
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.records import current
from mlops_assets.lib.records.history import last_verdict
from mlops_assets.lib.records.ledger import BATCH_DECISIONS
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import training_set
from mlops_assets.stages.evidence import findings, gating, look_at_batches


def retrain_sensor(
    spec: UseCase, ingest: str, job: str, model: FeatureModel
) -> dg.SensorDefinition:
    """Trains when the accepted batches are others than those of the last decision."""

    @dg.sensor(
        name=f"{spec.name}_retrain",
        job_name=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains {spec.name} when its accepted data, SQL or training plan changed.",
    )
    def sensor(context: dg.SensorEvaluationContext, storage: StorageRoot) -> dg.SensorResult:
        batches = storage.batches(spec.name)
        looked = look_at_batches(context.instance, batches, spec, model)
        accepted = [batch for batch in looked if batch.state == "accepted"]
        if not accepted:
            return result(context, [], "no batch has been accepted yet")
        if Jobs(context.instance, ingest).active():
            return result(context, [], "batches are being ingested")
        wanted = training_set.wanted_digest(spec, model, accepted)
        entries = storage.ledger(spec.name).entries()
        verdict = last_verdict(entries)
        if verdict is not None and verdict.get("wanted") == wanted:
            return result(context, [], "the ledger has a decision about the accepted batches")
        made = current.read(storage.open(), spec.name, training_set.STAGE)
        if made is not None and made["wanted"] == wanted:
            asked = gating(training_set.checks(spec), made["digest"])
            failed = [f for f in findings(context.instance, asked) if f.status == "failed"]
            if failed:
                said = "; ".join(f"{finding.check}: {finding.said}" for finding in failed)
                return result(context, [], f"the training set was refused: {said}")
        jobs = Jobs(context.instance, job)
        if jobs.active():
            return result(context, [], "a retrain is at work")
        # A batch that was taken out and put back is new work on old rows.
        turn = sum(entry["decision"] in BATCH_DECISIONS for entry in entries)
        subject = f"{wanted}/{turn}" if turn else wanted
        return result(context, [jobs.request(subject, spec.name)], "")

    return sensor
