"""Carries out a decision of the ledger that a version is to serve.

The ledger says that it begins, an approved version passes the steps of the spec, the desired state
moves, the serving app follows, the version answers a golden row, the alias ``champion`` moves and
the ledger says ``promoted``. Every part may be done twice, so that a rollout which was killed is
finished by the next one. A version that does not answer, or fails a step, is taken back. Two at
once do no harm: the newer decision wins, and the one that carried out an older one notices and
leaves everything alone. A person who goes back never waits for a step.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.desired_state import OvertakenError, TakenBackError
from mlops_assets.lib.records.history import Entry, champion
from mlops_assets.lib.records.ledger import Ledger, head
from mlops_assets.lib.records.rollouts import Rollouts
from mlops_assets.lib.rollout_analysis.counters import Counters
from mlops_assets.lib.spec.rollout_policy import rollout_policy
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.mlflow import MlflowTracking
from mlops_assets.resources.rollout_target import RolloutTarget, TargetError
from mlops_assets.rollout import prometheus
from mlops_assets.rollout.decision import Decision, NotWantedError
from mlops_assets.rollout.smoke_test import smoke_test
from mlops_assets.rollout.trial import FailedTrialError, Trial
from serving.bundle.manifest import BundleError


@dataclass(frozen=True)
class Served:
    """A version that serves.

    Attributes:
        role: Its place in the desired state.
        seconds: From the new desired state to the app that follows it.
        said: What the smoke test found.
        answer: The app's, to a golden row.
    """

    role: dict[str, Any]
    seconds: float
    said: str
    answer: dict[str, Any]


class Rollout:
    """The rollouts of one use case to one target."""

    def __init__(
        self,
        spec: UseCase,
        store: Storage,
        ledger: Ledger,
        mlflow: MlflowTracking,
        target: RolloutTarget,
    ) -> None:
        self.spec = spec
        self._written = spec
        self.store = store
        self.ledger = ledger
        self.mlflow = mlflow
        self.target = target
        self.rollouts = Rollouts(store, spec.name, target.environment)

    def carry_out(
        self,
        move: Entry,
        actor: str,
        say: Callable[[str], None] = lambda _: None,
        judged: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Served:
        """Make the version of a decision serve. It may be done again at any time.

        Args:
            move: The entry that says so: an approval, a rollback, or the promotion of the champion,
                which is then only made to serve again.
            actor: Who carries it out.
            say: Told what has been reached.
            judged: Told of each step that is over, as ``lib.records.rollouts`` keeps it.

        Raises:
            TakenBackError: If the version does not answer or fails a step, for which the ledger
                says ``aborted``, or was rejected meanwhile.
            OvertakenError: If a newer decision was written meanwhile. It is left to that one.
            SpecError: If this environment's policy of rollouts has mistakes; nothing moves then.
            OSError: If it cannot be read; the same.
        """
        role = {"version": move["version"], "bundle": move["path"], "digest": move["bundle"]}
        facts = {
            **{name: move[name] for name in ("version", "bundle", "path")},
            **{name: move.get(name) for name in ("training_set", "wanted")},
            "environment": self.target.environment,
            "actor": actor,
            "decision_of": move["sequence"],
        }
        facts |= self._take_policy(move)
        decision = Decision(self.ledger, move)
        now = desired_state.read(self.store, self.spec.name, self.target.environment)
        # Whoever is on trial now does not come back.
        before = decision.begin(facts, {n: r for n, r in now.items() if n == "champion"})
        try:
            verify_stored(self.store, move["path"], move["bundle"])
            if self._has_steps(move, before):
                facts |= {"steps": self._trial(decision, role, before, say, judged)}
            full = {"champion": role | {"percent": 100}}
            seconds = self._serve(decision, full, say)
            said, answer = smoke_test(self.store, self.target, self.spec, role)
            say(said)
            self._crown(decision, facts)
        except FailedTrialError as error:
            facts |= {"final": True, "outcome": error.verdict}
            self._take_back(decision, facts, before, str(error))
            raise TakenBackError(str(error)) from error
        except (TargetError, BundleError, NotWantedError) as error:
            self._take_back(decision, facts, before, str(error))
            raise TakenBackError(str(error)) from error
        return Served(full["champion"], seconds, said, answer)

    def _take_policy(self, move: Entry) -> dict[str, str]:
        """Go by what this environment says of the use case; give the digest of where it does."""
        # A way back has no steps, and must not wait until somebody has mended a file.
        policy = rollout_policy(self._written) if move["decision"] == "approved" else None
        if policy is None or self._written.name not in policy.by_use_case:
            self.spec = self._written
            return {}
        rules = policy.by_use_case[self._written.name]
        self.spec = self._written.model_copy(update={"rollout": rules})
        return {"rollout_policy": policy.digest}

    def _has_steps(self, move: Entry, before: dict[str, Any]) -> bool:
        """Whether the version is tried first: one that served once, or alone, is not."""
        served = before.get("champion", {}).get("digest")
        is_new = move["decision"] == "approved" and served not in (None, move["bundle"])
        return is_new and bool(self.spec.rollout.steps)

    def _trial(
        self,
        decision: Decision,
        role: dict[str, Any],
        before: dict[str, Any],
        say: Callable[[str], None],
        judged: Callable[[dict[str, Any]], None],
    ) -> list[dict[str, str]]:
        """Let the version pass the steps; give the name and the verdict of each."""
        trial = Trial(
            spec=self.spec,
            store=self.store,
            target=self.target,
            rollouts=self.rollouts,
            move=decision.move,
            role=role,
            champion=before["champion"],
            counters=self._counters,
            desire=lambda roles: self._desire(decision, roles),
            expedited=decision.is_expedited,
            say=say,
            judged=judged,
        )
        return [
            {"name": step["name"], "verdict": step["judged"]["verdict"]}
            for step in trial.run()
            if "judged" in step
        ]

    def _counters(self) -> dict[str, Counters]:
        url = os.environ.get(prometheus.URL_VARIABLE)
        name = self.spec.name
        return prometheus.counters(url, name) if url else self.target.counters(name)

    def _desire(self, decision: Decision, roles: dict[str, Any]) -> None:
        name, environment = self.spec.name, self.target.environment
        desired_state.write(
            self.store,
            name,
            environment,
            roles,
            decision=decision.claim,
            # Other customers meet the next version first.
            salt=decision.move["hash"][:12],
            newest=lambda: len(self.ledger.verify()),
        )
        self.target.apply(name, roles, head(self.ledger.verify()[-1]))

    def _serve(self, decision: Decision, full: dict[str, Any], say: Callable[[str], None]) -> float:
        name, is_new = self.spec.name, decision.move["decision"] == "approved"
        try:
            self._desire(decision, full)
            if is_new:
                self.target.settle(name, full)
        except TargetError as error:
            if is_new:
                raise
            # A person who goes back waits for no cluster: the app follows the desired state.
            say(f"the desired state is written, and the cluster does not follow it yet: {error}")
        return self.target.wait_for(name, full, self.spec.rollout.timeout_seconds)

    def _take_back(
        self, decision: Decision, facts: dict[str, Any], before: dict[str, Any], why: str
    ) -> None:
        move = decision.move
        if move["decision"] == "promoted":
            return  # the champion is what should serve, whatever was there
        now = desired_state.read(self.store, self.spec.name, self.target.environment)
        if any(role.get("digest") == move["bundle"] for role in now.values()):
            try:
                self._desire(decision, before)
            except TargetError as error:
                # The desired state is the old one, which the app follows.
                why += f"; the cluster does not follow yet: {error}"
        self._ended(move, why)
        with suppress(NotWantedError):  # the ledger has said so already
            decision.write("aborted", {**facts, "reasons": [why]})

    def _ended(self, move: Entry, why: str) -> None:
        progress = self.rollouts.progress(move)
        if progress["steps"]:
            self.rollouts.save(move, progress | {"ended": why})

    def _crown(self, decision: Decision, facts: dict[str, Any]) -> None:
        """Move the alias, and say so in the ledger last.

        A kill before that leaves the decision open, and all of this is done once more.
        """
        move = decision.move
        decision.hold()
        self.mlflow.crown(self.spec.name, move["version"])
        try:
            promoted = decision.write("promoted", facts)
        except (OvertakenError, NotWantedError):
            # The alias is that of a version which is not the champion.
            crowned = champion(self.ledger.verify())
            if crowned is not None:
                self.mlflow.crown(self.spec.name, crowned["version"])
            raise
        self._ended(move, "promoted")
        if promoted is not None:
            self.mlflow.describe(self.spec.name, move, promoted)
