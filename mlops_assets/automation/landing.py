"""The sensor that ingests what has landed."""

import time

import dagster as dg

from mlops_assets.automation.jobs import INTERVAL_SECONDS, Jobs, result
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import raw
from mlops_assets.stages.evidence import Batch, look_at_batches


def landing_sensor(
    spec: UseCase,
    job: str,
    partitions: dg.DynamicPartitionsDefinition,
    model: FeatureModel,
) -> dg.SensorDefinition:
    """Ingests each landed file whose checks have not all been answered."""

    @dg.sensor(
        name=f"{spec.name}_landing",
        job_name=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at the landing place of {spec.name} and ingests what is new.",
    )
    def sensor(context: dg.SensorEvaluationContext, storage: StorageRoot) -> dg.SensorResult:
        batches = storage.batches(spec.name)
        batches.look(time.time())
        looked = look_at_batches(context.instance, batches, spec, model)
        for batch in looked:
            if batch.state != "outstanding":
                # It has landed once more: its rows are here, and the person in it is not kept.
                raw.forget_landed(spec, batches, batch.receipt)
        known = set(context.instance.get_dynamic_partitions(str(partitions.name)))
        new = [batch.receipt.key for batch in looked if batch.receipt.key not in known]
        jobs = Jobs(context.instance, job)
        # A new contract or new SQL is new work on the same batch.
        version = short(digest_of([spec.contract.digest, model.code_version]))
        answers = [
            jobs.request(_work(batch, version), spec.name, batch.receipt.key)
            for batch in looked
            if batch.state == "outstanding"
        ]
        otherwise = f"{len(looked)} batches have landed, every one is ingested"
        for state, said in (("refused", "refused by their checks"), ("withdrawn", "withdrawn")):
            keys = [batch.receipt.key for batch in looked if batch.state == state]
            if keys:
                otherwise += f"; {said}: {', '.join(keys)}"
        adding = [partitions.build_add_request(new)] if new else []
        return result(context, answers, otherwise, adding)

    return sensor


def _work(batch: Batch, version: str) -> str:
    """What is to be done with a batch: something else each time its raw rows were rewritten."""
    rewritten = batch.pointers.get(raw.STAGE, {}).get("rewritten", 0)
    return f"{batch.receipt.key}@{version}" + (f"/{rewritten}" if rewritten else "")
