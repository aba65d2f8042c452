"""What a person decides, as jobs with a form in the Launchpad; the commands do the same."""

import dagster as dg
from pydantic import Field

from mlops_assets.automation.jobs import PRIORITY_TAG
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.operations.decide import Answer, decide
from mlops_assets.resources import MlflowTracking, RolloutTarget, StorageRoot
from mlops_assets.rollout.control import ACTIONS, control
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


class Control(dg.Config):
    """What to do about the rollout that is under way."""

    action: str = Field(
        description="pause, resume, promote (leave the remaining steps out) or abort"
    )
    by: str = Field(description="Who decides.")
    reason: str = Field(description="Why, in a line. To promote or abort goes into the ledger.")


ANSWERS: dict[str, Answer] = {"approve": "approve", "reject": "reject", "promote": "promote"}


def build(spec: UseCase, batch_checks: BatchChecks, tags: dict[str, str]) -> dg.Definitions:
    """The jobs ``<use case>_decide``, ``…_rollback`` and ``…_rollout_control``."""

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
        target: RolloutTarget,
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

    @dg.op(name=f"{spec.name}_control")
    def control_rollout(
        context: dg.OpExecutionContext,
        config: Control,
        storage: StorageRoot,
        target: RolloutTarget,
    ) -> None:
        action = next((each for each in ACTIONS if each == config.action), None)
        if action is None:
            raise dg.Failure(f"action: {config.action!r}: one of {', '.join(ACTIONS)}")
        store, ledger = storage.open(), storage.ledger(spec.name)
        try:
            said = control(
                spec, store, ledger, target, action, actor=config.by, reason=config.reason
            )
        except ValueError as error:
            raise dg.Failure(str(error)) from error
        context.log.info(said)

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

    @dg.job(
        name=f"{spec.name}_rollout_control",
        description="Pause, resume, promote early or abort the rollout that is under way: fill in "
        "the form.",
        # Before whatever else waits in the queue.
        tags=tags | {PRIORITY_TAG: "3"},
    )
    def control_job() -> None:
        control_rollout()

    return dg.Definitions(jobs=[decide_job, rollback_job, control_job])
