"""``rollout``: makes an approved version serve, and crowns it only when it does."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib.records.desired_state import TakenBackError
from mlops_assets.lib.records.history import awaiting_rollout, champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import MlflowTracking, RolloutTarget, StorageRoot
from mlops_assets.rollout.alias import misplaced
from mlops_assets.rollout.rollout import Rollout
from mlops_assets.rollout.trial import FailedTrialError
from mlops_assets.stages import promotion
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "rollout"
SMOKE_TEST = "smoke_test"
ANALYSIS = "analysis"
ALIAS = "alias"
ALIAS_IS_RIGHT = "the alias `champion` stands where the ledger says"


def checks(spec: UseCase) -> Checks:
    """What is asked of the app; the subject is the bundle's digest."""
    question = "The app serves the version and answers a golden row as training did."
    analysis = "Every step that the version passed was successful, or went on as the spec says."
    alias = "MLflow's alias `champion` is that of the ledger; a sensor looks every minute."
    return Checks(
        asset_key(spec, STAGE),
        (
            Check(SMOKE_TEST, question, blocking=True),
            Check(ANALYSIS, analysis, blocking=True),
            Check(ALIAS, alias, gate=False),
        ),
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


def table(steps: list[dict[str, Any]]) -> dg.MarkdownMetadataValue:
    """The measures of steps, as ``lib.records.rollouts`` keeps them, for people."""
    lines = [
        "| step | measure | champion | version | found | surely | limit | rows | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step in steps:
        for each in step.get("judged", {}).get("measures", ()):
            low, high = _number(each["low"]), _number(each["high"])
            names = (each["champion"], each["trial"], each["value"])
            numbers = " | ".join(map(_number, names))
            lines.append(
                f"| {step['name']} | {each['name']} | {numbers} | {low} to {high} "
                f"| {each['limit']:g} | {each['rows']} | {each['verdict']} |"
            )
    return dg.MetadataValue.md("\n".join(lines) if len(lines) > 2 else "no step was judged")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``rollout`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, promotion.STAGE)],
        check_specs=asked.specs(),
        output_required=False,
        description="Lets the approved version pass the steps of the spec beside the champion, "
        "moves the desired state to it, waits until it answers, and then moves the alias "
        "`champion`. A version that fails a step, or does not answer, is taken back. Without an "
        "approval it makes the champion serve again, should anything else do.",
        **common(spec, STAGE, "fastapi"),
    )
    def rollout(
        context: dg.AssetExecutionContext,
        storage: StorageRoot,
        mlflow: MlflowTracking,
        target: RolloutTarget,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        ledger = storage.ledger(spec.name)
        entries = ledger.verify()
        move = awaiting_rollout(entries) or champion(entries)
        if move is None:
            raise dg.Failure(f"the ledger of {spec.name} has no approved version to roll out")
        digest, version = move["bundle"], move["version"]
        done = Rollout(spec, storage.open(), ledger, mlflow, target)

        def judged(step: dict[str, Any]) -> None:
            metadata = {"version": version, "step": step["name"], "measures": table([step])}
            context.log_event(dg.AssetObservation(asked.asset, metadata=metadata))

        actor, log = f"dagster run {context.run.run_id}", context.log.info
        try:
            served = done.carry_out(move, actor, log, judged)
        except TakenBackError as error:
            failed_a_step, said = (
                isinstance(error.__cause__, FailedTrialError),
                f"taken back: {error}",
            )
            yield asked.result(context, SMOKE_TEST, failed_a_step, digest, said)
            if failed_a_step:
                shown = {"steps": table(done.rollouts.progress(move)["steps"])}
                yield asked.result(context, ANALYSIS, False, digest, said, shown)
            else:
                yield from asked.unanswered(context, [ANALYSIS], digest, said)
            wrong = misplaced(spec.name, ledger.verify(), mlflow)
            yield asked.result(context, ALIAS, wrong is None, digest, wrong or ALIAS_IS_RIGHT)
            return
        steps = done.rollouts.progress(move)["steps"]
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
                "steps": table(steps),
            },
        )
        yield asked.result(context, SMOKE_TEST, True, digest, served.said)
        said = (
            f"{len(steps)} steps passed"
            if steps
            else "there was nobody to compare with, or no step"
        )
        yield asked.result(context, ANALYSIS, True, digest, said, {"steps": table(steps)})
        yield asked.result(context, ALIAS, True, digest, ALIAS_IS_RIGHT)

    return dg.Definitions(assets=[rollout])
