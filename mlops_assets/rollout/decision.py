"""The decision of the ledger that is being carried out, and whether it still holds."""

from collections.abc import Mapping
from typing import Any

from mlops_assets.lib.records.desired_state import OvertakenError
from mlops_assets.lib.records.history import Entry, awaiting_rollout, champion, last_decision
from mlops_assets.lib.records.ledger import Kind, Ledger, MovedOnError


class NotWantedError(Exception):
    """The ledger does not want the version to serve any more."""


class Decision:
    """That a version is to serve.

    Attributes:
        move: The entry that says so.
        claim: Number of the entry that the desired state follows.
    """

    def __init__(self, ledger: Ledger, move: Entry) -> None:
        self.move = move
        self.claim: int = move["sequence"]
        self._ledger = ledger
        self._known = -1
        self._expedited = False

    def begin(self, facts: Mapping[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """Say in the ledger that what serves is about to change: without a ledger nothing moves.

        Args:
            facts: About the rollout.
            state: The roles that are desired now.

        Returns:
            The roles to go back to.

        Raises:
            OvertakenError, NotWantedError: See ``hold``.
        """
        while True:
            entries = self._ledger.verify()
            if self.move["decision"] == "promoted":
                # What has been decided since has left it the champion.
                self.hold(entries)
                self.claim = len(entries)
                return state
            begun = (e for e in reversed(entries) if e["decision"] == "rolling_out")
            for entry in begun:
                if entry["decision_of"] == self.move["sequence"]:
                    # It was begun and killed: by now the state may be our own.
                    before: dict[str, Any] = entry["before"]
                    return before
            self.hold(entries)
            try:
                self._ledger.append("rolling_out", {**facts, "before": state}, after=len(entries))
            except MovedOnError:
                continue
            return state

    def hold(self, entries: list[Entry] | None = None) -> None:
        """Stop if the ledger does not want the version to serve any more.

        Args:
            entries: Of the ledger, where they are known.

        Raises:
            OvertakenError: If it wants another one since.
            NotWantedError: If it wants none: the version was rejected, or its data withdrawn.
        """
        entries = self._ledger.verify() if entries is None else entries
        move, newest = self.move, awaiting_rollout(entries) or champion(entries)
        if newest is not None and newest["bundle"] == move["bundle"]:
            return
        if newest is not None and newest["sequence"] > move["sequence"]:
            raise OvertakenError(
                f"entry {newest['sequence']} of the ledger ({newest['decision']} version "
                f"{newest['version']}) is newer than entry {move['sequence']}: it is left to that"
            )
        said = f"entry {move['sequence']} of the ledger does not hold any more"
        last = last_decision(entries, move["bundle"])
        if last is not None and last["sequence"] > move["sequence"] and last.get("reasons"):
            said += f": {last['decision']} by {last['actor']}: {'; '.join(last['reasons'])}"
        raise NotWantedError(said)

    def is_expedited(self) -> bool:
        """Whether a person wants the remaining steps left out; stops as ``hold`` does.

        The ledger is read only when it has grown, so that this may be asked every second.
        """
        length = self._ledger.length()
        if length != self._known:
            entries = self._ledger.verify()
            self.hold(entries)
            self._expedited = any(
                entry["decision"] == "expedited" and entry["decision_of"] == self.move["sequence"]
                for entry in entries
            )
            self._known = length
        return self._expedited

    def write(self, kind: Kind, facts: Mapping[str, Any]) -> Entry | None:
        """Write how it was carried out, unless somebody has, or it does not hold.

        Raises:
            OvertakenError, NotWantedError: See ``hold``.
        """
        while True:
            entries = self._ledger.verify()
            self.hold(entries)
            if awaiting_rollout(entries) is None:
                return None  # somebody else has carried it out
            try:
                return self._ledger.append(kind, facts, after=len(entries))
            except MovedOnError:
                continue
