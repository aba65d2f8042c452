"""How far a rollout has come, and whether a person holds it.

The ledger has what was decided. This is what happens in between: one small file, replaced at every
look, from which a rollout that was killed goes on, and another one that a person writes.
"""

from datetime import UTC, datetime
from typing import Any

from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.storage.root import Storage


class Rollouts:
    """The records of a use case's rollouts in an environment, by the decision they carry out."""

    def __init__(self, storage: Storage, use_case: str, environment: str) -> None:
        self._storage = storage
        self._prefix = f"{use_case}/rollouts/{environment}"

    def progress(self, move: Entry) -> dict[str, Any]:
        """How far the rollout of a decision has come.

        It holds ``step`` (from 0: the one that is at work), ``elapsed`` (its seconds so far),
        ``extended`` (how often it was given its time once more), ``paused_seconds``, ``since``
        (when its counting began, or null), ``counted`` (what the counters were at the last look, by
        source, or null), ``grown`` (by how much they grew since its start, all sources together),
        ``ended`` (why the rollout is over, or null) and ``steps``: of each that was begun its
        ``name``, ``role``, ``percent``, ``seconds`` and, as soon as there was a look, ``judged``
        (verdict, reason, measures).
        """
        begun = {
            "decision": move["sequence"],
            "version": move["version"],
            "bundle": move["bundle"],
            "steps": [],
            "ended": None,
        }
        found = self._storage.read_json(self._key(move, "progress"))
        return AT_ITS_START | begun | (found or {})

    def save(self, move: Entry, progress: dict[str, Any]) -> None:
        """Replace what is known of how far a rollout has come."""
        progress["updated_at"] = datetime.now(UTC).isoformat()
        self._storage.write_json(self._key(move, "progress"), progress)

    def paused(self, move: Entry) -> dict[str, Any] | None:
        """Who holds a rollout (``actor``, ``reason``, ``at``), or None."""
        found = self._storage.read_json(self._key(move, "control"))
        return found if found is not None and found["paused"] else None

    def hold(self, move: Entry, paused: bool, actor: str, reason: str) -> None:
        """Let a rollout wait, or go on."""
        said = {"paused": paused, "actor": actor, "reason": reason}
        at = datetime.now(UTC).isoformat()
        self._storage.write_json(self._key(move, "control"), said | {"at": at})

    def _key(self, move: Entry, name: str) -> str:
        return f"{self._prefix}/{move['sequence']:08d}/{name}.json"


# Of each step.
AT_ITS_START: dict[str, Any] = {
    "step": 0,
    "elapsed": 0.0,
    "extended": 0,
    "paused_seconds": 0.0,
    "since": None,
    "counted": None,
    "grown": [],
}
