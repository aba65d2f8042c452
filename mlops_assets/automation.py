"""The sensors: each tick compares what should be with what is done, and asks for the difference.

Nothing is remembered between ticks. A run that was killed leaves its work undone, so the next tick
sees it again; a run that got an answer, pass or refusal, leaves the answer in Dagster's records.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.records import current, desired_state
from mlops_assets.lib.records.history import (
    awaiting_approval,
    awaiting_rollout,
    champion,
    last_verdict,
)
from mlops_assets.lib.records.ledger import BATCH_DECISIONS
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.operations.decide import expire
from mlops_assets.resources import LocalTarget, MlflowTracking, StorageRoot
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.rollout.alias import misplaced
from mlops_assets.stages import live_drift, raw, rollout, sources, training_set
from mlops_assets.stages.evidence import Batch, findings, gating, look_at_batches

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )

SUBJECT_TAG = "mlops/subject"
USE_CASE_TAG = "mlops/use_case"
SOURCE_TAG = "mlops/source"
# Runs with an equal value wait for each other (dagster.yaml).
ALONE_TAG = "mlops/alone"
PRIORITY_TAG = "dagster/priority"
ATTEMPTS = 3
# Dagster writes why a run has failed; it has nothing to write about a process that is gone.
FAILURE_REASON_TAG = "dagster/failure_reason"
OWN_FAILURES = {"STEP_FAILURE", "RUN_EXCEPTION", "JOB_INITIALIZATION_FAILURE"}
MOST_RUNS = 30
# The sensor daemon looks every few seconds; a smaller number makes no difference.
INTERVAL_SECONDS = 1
ALIAS_SECONDS = 60
MONITOR_CRON = "20 * * * *"
MOST_DAYS = 7
# Whoever decides a rollback carries it out; past this it was killed, and a run finishes it.
BY_HAND_SECONDS = 60.0
ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
GIVEN_UP = "is not tried again"


class Jobs:
    """Asks for a run unless one is at work or enough have failed."""

    def __init__(self, instance: dg.DagsterInstance, job: str, attempts: int = ATTEMPTS) -> None:
        self.instance = instance
        self.job = job
        self.attempts = attempts

    def active(self) -> bool:
        """Whether a run of the job is queued or at work."""
        return bool(
            self.instance.get_run_records(
                dg.RunsFilter(job_name=self.job, statuses=ACTIVE), limit=1
            )
        )

    def request(
        self, subject: str, use_case: str, partition: str | None = None
    ) -> dg.RunRequest | str:
        """A request for the next attempt at a subject, or the reason why there is none.

        Args:
            subject: Digest of the work to be done.
            use_case: Whose work.
            partition: Partition key of the run, if it has one.
        """
        tags = {SUBJECT_TAG: subject, USE_CASE_TAG: use_case}
        runs = self.instance.get_runs(dg.RunsFilter(job_name=self.job, tags=tags))
        if any(not run.is_finished for run in runs):
            return f"{self.job} is at work on {partition or short(subject)}"
        # A run that was killed says nothing about its work; only very many of them do.
        ended = [run for run in runs if _ended_by_itself(run)]
        if len(ended) >= self.attempts or len(runs) >= MOST_RUNS:
            return (
                f"{self.job} has run {len(runs)} times without an answer on "
                f"{partition or short(subject)} and {GIVEN_UP}: look at run {runs[0].run_id}, "
                "then launch the job by hand"
            )
        return dg.RunRequest(
            run_key=f"{self.job}:{subject}:{len(runs)}", partition_key=partition, tags=tags
        )


def _ended_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a run came to an end of its own, and was not killed, interrupted or never started."""
    return not run.is_failure or run.tags.get(FAILURE_REASON_TAG) in OWN_FAILURES


def _result(
    context: dg.SensorEvaluationContext,
    answers: list[dg.RunRequest | str],
    otherwise: str,
    partitions: Sequence[dg.AddDynamicPartitionsRequest] = (),
) -> dg.SensorResult:
    """What a tick says: the runs it asks for, or why it asks for none."""
    requests = [answer for answer in answers if isinstance(answer, dg.RunRequest)]
    said = [answer for answer in answers if isinstance(answer, str)]
    for line in said:
        if GIVEN_UP in line:
            context.log.error(line)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason("; ".join(said) or otherwise),
        dynamic_partitions_requests=partitions,
    )


def fetch_schedule(
    spec: UseCase, source: Source, job: "UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    """Fetches a source at the times that its spec names, unless the last fetch is still at work."""

    @dg.schedule(
        name=f"{job.name}_{source.name}",
        job=job,
        cron_schedule=str(source.schedule),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Fetches the source {source.name} of {spec.name}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tags = {USE_CASE_TAG: spec.name, SOURCE_TAG: source.name}
        running = dg.RunsFilter(job_name=job.name, tags=tags, statuses=ACTIVE)
        if context.instance.get_run_records(running, limit=1):
            return dg.SkipReason(f"a fetch of {source.name} is at work")
        return dg.RunRequest(asset_selection=[sources.checks(spec, source).asset], tags=tags)

    return schedule


def monitor_schedule(spec: UseCase, job: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """Judges the days of the prediction log that are over and were not, or not with all files.

    It looks every hour, which costs a listing of the log, and asks for nothing where nothing has
    come: so a day is judged soon after it is over, whatever was down at midnight.
    """

    @dg.schedule(
        name=job.name,
        job=job,
        cron_schedule=MONITOR_CRON,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks for drift in the answers of {spec.name}, day by day.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, storage: StorageRoot
    ) -> list[dg.RunRequest] | dg.SkipReason:
        jobs = Jobs(context.instance, job.name)
        if jobs.active():
            return dg.SkipReason("days are being judged")
        days = live_drift.outstanding(storage.open(), spec, context.scheduled_execution_time)
        subjects = [(day, f"{day}/{digest}") for day, digest in days[:MOST_DAYS]]
        answers = [jobs.request(subject, spec.name, day) for day, subject in subjects]
        requests = [answer for answer in answers if isinstance(answer, dg.RunRequest)]
        said = [answer for answer in answers if isinstance(answer, str)]
        return requests or dg.SkipReason("; ".join(said) or "every day of the log is judged")

    return schedule


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
        return _result(context, answers, otherwise, adding)

    return sensor


def _work(batch: Batch, version: str) -> str:
    """What is to be done with a batch: something else each time its raw rows were rewritten."""
    rewritten = batch.pointers.get(raw.STAGE, {}).get("rewritten", 0)
    return f"{batch.receipt.key}@{version}" + (f"/{rewritten}" if rewritten else "")


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
            return _result(context, [], "no batch has been accepted yet")
        if Jobs(context.instance, ingest).active():
            return _result(context, [], "batches are being ingested")
        wanted = training_set.wanted_digest(spec, model, accepted)
        entries = storage.ledger(spec.name).entries()
        verdict = last_verdict(entries)
        if verdict is not None and verdict.get("wanted") == wanted:
            return _result(context, [], "the ledger has a decision about the accepted batches")
        made = current.read(storage.open(), spec.name, training_set.STAGE)
        if made is not None and made["wanted"] == wanted:
            asked = gating(training_set.checks(spec), made["digest"])
            failed = [f for f in findings(context.instance, asked) if f.status == "failed"]
            if failed:
                said = "; ".join(f"{finding.check}: {finding.said}" for finding in failed)
                return _result(context, [], f"the training set was refused: {said}")
        jobs = Jobs(context.instance, job)
        if jobs.active():
            return _result(context, [], "a retrain is at work")
        # A batch that was taken out and put back is new work on old rows.
        turn = sum(entry["decision"] in BATCH_DECISIONS for entry in entries)
        subject = f"{wanted}/{turn}" if turn else wanted
        return _result(context, [jobs.request(subject, spec.name)], "")

    return sensor


def rollout_sensor(spec: UseCase, job: str) -> dg.SensorDefinition:
    """Rolls out what the ledger has decided; it never reads an asset."""

    @dg.sensor(
        name=f"{spec.name}_rollout",
        job_name=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Rolls out the version of {spec.name} that its ledger has approved.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, storage: StorageRoot, target: LocalTarget
    ) -> dg.SensorResult:
        ledger, now = storage.ledger(spec.name), datetime.now(UTC)
        for entry in expire(spec, ledger, now):
            context.log.warning(f"version {entry['version']}: {'; '.join(entry['reasons'])}")
        entries = ledger.verify()
        move = awaiting_rollout(entries)
        subject = move and move["hash"]
        if move is None:
            role = desired_state.read(storage.open(), spec.name, target.environment)
            served = role.get("champion", {}).get("digest")
            move = champion(entries)
            if move is None or served == move["bundle"]:
                waiting = ", ".join(entry["version"] for entry in awaiting_approval(entries))
                said = f"version {waiting} waits for a person to approve it" if waiting else ""
                return _result(context, [], said or "the ledger has nothing to roll out")
            subject = f"{move['hash']}/{served}"
            context.log.error(
                f"the desired state names {short(served) if served else 'no champion'}, and the "
                f"ledger version {move['version']}, which is put back"
            )
        age = (now - datetime.fromisoformat(move["time"])).total_seconds()
        if move["decision"] == "rolled_back" and 0 <= age < BY_HAND_SECONDS:
            return _result(context, [], "a rollback is carried out by whoever decided it")
        try:
            target.model(spec.name)
        except TargetError as error:
            said = (
                f"version {move['version']} is {move['decision'].replace('_', ' ')} and waits: "
                f"{error}; start one with `mlops serve {spec.name}`"
            )
            return _result(context, [], said)
        jobs = Jobs(context.instance, job, spec.rollout.attempts)
        if jobs.active():
            return _result(context, [], "a rollout is at work")
        return _result(context, [jobs.request(str(subject), spec.name)], "")

    return sensor


def alias_sensor(spec: UseCase) -> dg.SensorDefinition:
    """Reports an alias of MLflow that was moved by hand, as a failed check of the rollout."""

    @dg.sensor(
        name=f"{spec.name}_alias",
        asset_selection=dg.AssetSelection.assets(rollout.checks(spec).asset),
        minimum_interval_seconds=ALIAS_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks whether MLflow's alias `champion` of {spec.name} is where it belongs.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> dg.SensorResult:
        entries = storage.ledger(spec.name).verify()
        if champion(entries) is None:
            return dg.SensorResult(skip_reason="there is no champion yet")
        wrong = misplaced(spec.name, entries, mlflow)
        if (wrong or "") == (context.cursor or ""):
            said = wrong or "the alias is where it belongs"
            return dg.SensorResult(skip_reason=said, cursor=context.cursor)
        if wrong:
            context.log.error(wrong)
        event = rollout.alias_result(spec, wrong)
        return dg.SensorResult(asset_events=[event], cursor=wrong or "")

    return sensor
