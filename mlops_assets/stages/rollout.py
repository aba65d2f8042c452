"""``rollout``: makes an approved version serve, and crowns it only when it does."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.lib.records.desired_state import TakenBackError
from mlops_assets.lib.records.history import awaiting_rollout, champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import LocalTarget, MlflowTracking, StorageRoot
from mlops_assets.rollout.alias import misplaced
from mlops_assets.rollout.rollout import Rollout
from mlops_assets.stages import promotion
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "rollout"
ALIAS = "alias"
ALIAS_IS_RIGHT = "the alias `champion` stands where the ledger says"


def checks(spec: UseCase) -> Checks:
    """What is asked of the app; the subject is the bundle's digest."""
    question = "The app serves the version and answers a golden row as training did."
    alias = "MLflow's alias `champion` is that of the ledger; a sensor looks every minute."
    return Checks(
        asset_key(spec, STAGE),
        (Check("smoke_test", question, blocking=True), Check(ALIAS, alias, gate=False)),
    )


def alias_result(spec: UseCase, wrong: str | None) -> dg.AssetCheckEvaluation:
    """What is known of MLflow's alias, as a result of the check ``alias``."""
    return dg.AssetCheckEvaluation(
        asset_key=checks(spec).asset,
        check_name=ALIAS,
        passed=wrong is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=wrong or ALIAS_IS_RIGHT,
    )


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``rollout`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, promotion.STAGE)],
        check_specs=asked.specs(),
        output_required=False,
        description="Moves the desired state to the approved version, waits until it answers, and "
        "then moves the alias `champion`. A version that does not answer is taken back. Without an "
        "approval it makes the champion serve again, should anything else do.",
        **common(spec, STAGE, "fastapi"),
    )
    def rollout(
        context: dg.AssetExecutionContext,
        storage: StorageRoot,
        mlflow: MlflowTracking,
        target: LocalTarget,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        ledger = storage.ledger(spec.name)
        entries = ledger.verify()
        move = awaiting_rollout(entries) or champion(entries)
        if move is None:
            raise dg.Failure(f"the ledger of {spec.name} has no approved version to roll out")
        digest, version = move["bundle"], move["version"]
        done = Rollout(spec, storage.open(), ledger, mlflow, target)
        try:
            served = done.carry_out(move, f"dagster run {context.run.run_id}", context.log.info)
        except TakenBackError as error:
            yield asked.result(context, "smoke_test", False, digest, f"taken back: {error}")
            wrong = misplaced(spec.name, ledger.verify(), mlflow)
            yield asked.result(context, ALIAS, wrong is None, digest, wrong or ALIAS_IS_RIGHT)
            return
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "version": version,
                "decision": f"entry {move['sequence']} of the ledger: {move['decision']}",
                "environment": target.environment,
                "serving": dg.MetadataValue.url(f"{target.url}/docs"),
                "seconds until it answered": served.seconds,
                "answer": dg.MetadataValue.json(served.answer),
                "desired state": dg.MetadataValue.json({"champion": served.role}),
                "bundle": digest,
            },
        )
        yield asked.result(context, "smoke_test", True, digest, served.said)
        yield asked.result(context, ALIAS, True, digest, ALIAS_IS_RIGHT)

    return dg.Definitions(assets=[rollout])
