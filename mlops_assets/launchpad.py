"""What a person decides, as jobs with a form in the Launchpad; the commands do the same."""

import dagster as dg
from pydantic import Field

from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.operations.decide import Answer, decide
from mlops_assets.resources import LocalTarget, MlflowTracking, StorageRoot
from mlops_assets.rollout.rollback import decide_rollback
from mlops_assets.rollout.rollout import Rollout
from mlops_assets.stages.gate import BatchChecks


class Decision(dg.Config):
    """What to decide about a version."""

    answer: str = Field(description="approve, reject or promote")
    version: str = Field(description="Its number, or the start of its bundle's digest.")
    by: str = Field(description="Who decides.")
    reason: str = Field(description="Why, in a line. It goes into the ledger.")


class RollBack(dg.Config):
    """Which version to put back."""

    by: str = Field(description="Who decides.")
    reason: str = Field(description="Why, in a line. It goes into the ledger.")
    to: str = Field(
        default="", description="A version, a digest or a date; empty for the champion before."
    )


ANSWERS: dict[str, Answer] = {"approve": "approve", "reject": "reject", "promote": "promote"}


def build(spec: UseCase, batch_checks: BatchChecks, tags: dict[str, str]) -> dg.Definitions:
    """The jobs ``<use case>_decide`` and ``<use case>_rollback``."""

    @dg.op(name=f"{spec.name}_decision")
    def decision(
        context: dg.OpExecutionContext,
        config: Decision,
        storage: StorageRoot,
        mlflow: MlflowTracking,
    ) -> None:
        if config.answer not in ANSWERS:
            raise dg.Failure(f"answer: {config.answer!r}: one of {', '.join(ANSWERS)}")
        try:
            entry = decide(
                context.instance,
                storage.open(),
                spec,
                batch_checks,
                ANSWERS[config.answer],
                config.version,
                actor=config.by,
                reason=config.reason,
            )
        except ValueError as error:
            raise dg.Failure(str(error)) from error
        mlflow.describe(spec.name, entry)
        said = f"version {entry['version']} is {entry['decision']} (entry {entry['sequence']})"
        context.log.info(said)

    @dg.op(name=f"{spec.name}_roll_back")
    def roll_back(
        context: dg.OpExecutionContext,
        config: RollBack,
        storage: StorageRoot,
        mlflow: MlflowTracking,
        target: LocalTarget,
    ) -> None:
        store, ledger = storage.open(), storage.ledger(spec.name)
        try:
            move = decide_rollback(
                store, ledger, to=config.to or None, actor=config.by, reason=config.reason
            )
        except ValueError as error:
            raise dg.Failure(str(error)) from error
        served = Rollout(spec, store, ledger, mlflow, target).carry_out(move, config.by)
        context.log.info(f"{served.said} after {served.seconds:.1f} s")

    @dg.job(
        name=f"{spec.name}_decide",
        description="A person approves, rejects or promotes a version: fill in the form.",
        tags=tags,
    )
    def decide_job() -> None:
        decision()

    @dg.job(
        name=f"{spec.name}_rollback",
        description="Put the champion before back, or that of a date: fill in the form.",
        tags=tags,
    )
    def rollback_job() -> None:
        roll_back()

    return dg.Definitions(jobs=[decide_job, rollback_job])
