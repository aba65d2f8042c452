"""Carries out a decision of the ledger that a version is to serve.

The ledger says that it begins, the desired state moves, the serving app follows, the version
answers a golden row, the alias ``champion`` moves and the ledger says ``promoted``. Every step may
be done twice, so that a rollout which was killed is finished by the next one. A version that does
not answer is taken back. Two at once do no harm: the newer decision wins, and the one that carried
out an older one notices and leaves everything alone.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.desired_state import OvertakenError, TakenBackError
from mlops_assets.lib.records.history import Entry, awaiting_rollout, champion
from mlops_assets.lib.records.ledger import Kind, Ledger, MovedOnError
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.mlflow import MlflowTracking
from mlops_assets.resources.rollout_target import LocalTarget, TargetError
from mlops_assets.rollout.smoke_test import smoke_test
from serving.bundle.manifest import BundleError


class _RejectedError(Exception):
    """The ledger does not want the version to serve any more."""


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
        target: LocalTarget,
    ) -> None:
        self.spec = spec
        self.store = store
        self.ledger = ledger
        self.mlflow = mlflow
        self.target = target

    def carry_out(
        self, move: Entry, actor: str, say: Callable[[str], None] = lambda _: None
    ) -> Served:
        """Make the version of a decision serve. It may be done again at any time.

        Args:
            move: The entry that says so: an approval, a rollback, or the promotion of the champion,
                which is then only made to serve again.
            actor: Who carries it out.
            say: Told what has been reached.

        Raises:
            TakenBackError: If the version does not answer, for which the ledger says ``aborted``,
                or was rejected meanwhile.
            OvertakenError: If a newer decision was written meanwhile. It is left to that one.
        """
        digest = move["bundle"]
        role = {"version": move["version"], "bundle": move["path"], "digest": digest}
        role |= {"percent": 100}
        facts = {
            **{name: move[name] for name in ("version", "bundle", "path")},
            **{name: move.get(name) for name in ("training_set", "wanted")},
            "environment": self.target.environment,
            "actor": actor,
            "decision_of": move["sequence"],
        }
        before = self._begin(move, facts)
        try:
            verify_stored(self.store, move["path"], digest)
            self._desire(move, {"champion": role})
            timeout = self.spec.rollout.timeout_seconds
            seconds = self.target.wait_for(self.spec.name, digest, timeout)
            said, answer = smoke_test(self.store, self.target, self.spec, role)
            say(said)
            self._crown(move, facts)
        except (TargetError, BundleError, _RejectedError) as error:
            self._take_back(move, facts, before, str(error))
            raise TakenBackError(str(error)) from error
        return Served(role, seconds, said, answer)

    def _begin(self, move: Entry, facts: dict[str, Any]) -> dict[str, Any]:
        """Say in the ledger that what serves is about to change: without a ledger nothing moves.

        Returns:
            The roles to go back to.
        """
        state = desired_state.read(self.store, self.spec.name, self.target.environment)
        if move["decision"] == "promoted":
            return state
        while True:
            entries = self.ledger.verify()
            for entry in reversed(entries):
                if entry["decision"] == "rolling_out" and entry["decision_of"] == move["sequence"]:
                    # It was begun and killed: by now the state may be our own.
                    before: dict[str, Any] = entry["before"]
                    return before
            self._still_wanted(move, entries)
            try:
                self.ledger.append("rolling_out", {**facts, "before": state}, after=len(entries))
            except MovedOnError:
                continue
            return state

    def _still_wanted(self, move: Entry, entries: list[Entry]) -> None:
        """Stop if the ledger does not want the version to serve any more.

        Raises:
            OvertakenError: If it wants another one since.
            _RejectedError: If it wants none: the version was rejected, or its data withdrawn.
        """
        newest = awaiting_rollout(entries) or champion(entries)
        if newest is not None and newest["bundle"] == move["bundle"]:
            return
        if newest is not None and newest["sequence"] > move["sequence"]:
            raise OvertakenError(
                f"entry {newest['sequence']} of the ledger ({newest['decision']} version "
                f"{newest['version']}) is newer than entry {move['sequence']}: it is left to that"
            )
        raise _RejectedError(f"entry {move['sequence']} of the ledger does not hold any more")

    def _desire(self, move: Entry, roles: dict[str, Any]) -> None:
        name, environment = self.spec.name, self.target.environment
        desired_state.write(
            self.store,
            name,
            environment,
            roles,
            decision=move["sequence"],
            newest=lambda: len(self.ledger.verify()),
        )

    def _take_back(
        self, move: Entry, facts: dict[str, Any], before: dict[str, Any], why: str
    ) -> None:
        if move["decision"] == "promoted":
            return  # the champion is what should serve, whatever was there
        now = desired_state.read(self.store, self.spec.name, self.target.environment)
        if now.get("champion", {}).get("digest") == move["bundle"]:
            self._desire(move, before)
        with suppress(_RejectedError):  # the ledger has said so already
            self._write("aborted", move, {**facts, "reasons": [why]})

    def _crown(self, move: Entry, facts: dict[str, Any]) -> None:
        """Move the alias, and say so in the ledger last.

        A kill before that leaves the decision open, and all of this is done once more.
        """
        self._still_wanted(move, self.ledger.verify())
        self.mlflow.crown(self.spec.name, move["version"])
        try:
            promoted = self._write("promoted", move, facts)
        except (OvertakenError, _RejectedError):
            # The alias is that of a version which is not the champion.
            crowned = champion(self.ledger.verify())
            if crowned is not None:
                self.mlflow.crown(self.spec.name, crowned["version"])
            raise
        if promoted is not None:
            self.mlflow.describe(self.spec.name, move, promoted)

    def _write(self, decision: Kind, move: Entry, facts: dict[str, Any]) -> Entry | None:
        """Write how a decision was carried out, unless somebody has, or it does not hold."""
        while True:
            entries = self.ledger.verify()
            self._still_wanted(move, entries)
            if awaiting_rollout(entries) is None:
                return None  # somebody else has carried it out
            try:
                return self.ledger.append(decision, facts, after=len(entries))
            except MovedOnError:
                continue
