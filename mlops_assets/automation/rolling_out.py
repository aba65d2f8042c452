"""The sensors that carry out the ledger's decisions, and see what does not follow them."""

from datetime import UTC, datetime

import dagster as dg

from mlops_assets.automation.jobs import INTERVAL_SECONDS, Jobs, result
from mlops_assets.lib.digests import short
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import awaiting_approval, awaiting_rollout, champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.operations.decide import expire
from mlops_assets.resources import MlflowTracking, RolloutTarget, StorageRoot
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.rollout.alias import misplaced
from mlops_assets.stages import rollout

ALIAS_SECONDS = 60
# Whoever decides a rollback carries it out; past this it was killed, and a run finishes it.
BY_HAND_SECONDS = 60.0


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
        context: dg.SensorEvaluationContext, storage: StorageRoot, target: RolloutTarget
    ) -> dg.SensorResult:
        ledger, now = storage.ledger(spec.name), datetime.now(UTC)
        for entry in expire(spec, ledger, now):
            context.log.warning(f"version {entry['version']}: {'; '.join(entry['reasons'])}")
        entries = ledger.verify()
        move = awaiting_rollout(entries)
        subject = move and move["hash"]
        if move is None:
            roles = desired_state.read(storage.open(), spec.name, target.environment)
            served = roles.get("champion", {}).get("digest")
            on_trial = sorted(roles.keys() - {"champion"})
            move = champion(entries)
            follows = move is not None and served == move["bundle"] and not on_trial
            try:
                wrong = target.drift(spec.name, roles, entries) if follows else None
            except TargetError as error:
                return result(context, [], str(error))
            if move is None or (follows and not wrong):
                waiting = ", ".join(entry["version"] for entry in awaiting_approval(entries))
                said = f"version {waiting} waits for a person to approve it" if waiting else ""
                return result(context, [], said or "the ledger has nothing to roll out")
            subject = "/".join([move["hash"], str(served), *on_trial, *([wrong] if wrong else [])])
            names = [
                short(served) if served else "no champion",
                *(f"a {name}" for name in on_trial),
            ]
            context.log.error(
                wrong
                or f"the desired state names {' and '.join(names)}, and the ledger version "
                f"{move['version']} alone, which is put back"
            )
        age = (now - datetime.fromisoformat(move["time"])).total_seconds()
        if move["decision"] == "rolled_back" and 0 <= age < BY_HAND_SECONDS:
            return result(context, [], "a rollback is carried out by whoever decided it")
        try:
            target.model(spec.name)
        except TargetError as error:
            decided = f"version {move['version']} is {move['decision'].replace('_', ' ')}"
            return result(context, [], f"{decided} and waits: {error}")
        jobs = Jobs(context.instance, job, spec.rollout.attempts)
        if jobs.active():
            return result(context, [], "a rollout is at work")
        return result(context, [jobs.request(str(subject), spec.name)], "")

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
        # An empty cursor in the result would leave the old one.
        context.update_cursor(wrong or "")
        return dg.SensorResult(asset_events=[rollout.alias_result(spec, wrong)])

    return sensor
