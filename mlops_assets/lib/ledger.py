"""The ledger: an append-only, hash-chained record of every decision about a model.

Each entry is one immutable file named by its number and created only if that number is free. Two
writers cannot take the same place, and a kill in the middle of a write leaves no entry at all. Each
entry carries the hash of the one before it, so that an edit, a removal or a reordering shows.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.storage import Storage

Kind = Literal["approved", "rejected", "promoted", "aborted"]
GENESIS = "0" * 64


class LedgerError(Exception):
    """The chain is broken; the message names the entry."""


class Ledger:
    """The ledger of one use case."""

    def __init__(self, storage: Storage, use_case: str) -> None:
        self.storage = storage
        self.use_case = use_case
        self.prefix = f"{use_case}/ledger"

    def entries(self) -> list[dict[str, Any]]:
        """Every entry, first to last, as it lies there (``verify`` judges it)."""
        names = [name for name in self.storage.list(self.prefix) if name.endswith(".json")]
        return [self.storage.read_json(f"{self.prefix}/{name}") or {} for name in names]

    def append(self, decision: Kind, details: Mapping[str, Any]) -> dict[str, Any]:
        """Write one decision at the end of the chain.

        Args:
            decision: What was decided.
            details: JSON-compatible facts: version, bundle, actor, checks, reasons.

        Returns:
            The entry as written.

        Raises:
            LedgerError: If the chain is broken; nothing is added to a broken chain.
        """
        while True:
            entries = self.verify()
            entry: dict[str, Any] = {
                **details,
                "decision": decision,
                "use_case": self.use_case,
                "sequence": len(entries) + 1,
                "time": datetime.now(UTC).isoformat(),
                "previous": entries[-1]["hash"] if entries else GENESIS,
            }
            entry["hash"] = digest_of(entry)
            if self.storage.create_json(f"{self.prefix}/{entry['sequence']:08d}.json", entry):
                return entry

    def verify(self) -> list[dict[str, Any]]:
        """Read the ledger and check its chain from the first entry to the last.

        A ledger cut off at its end, or rewritten as a whole, still chains: only an anchor outside
        it can show that.

        Returns:
            The entries.

        Raises:
            LedgerError: Naming the first entry that was edited, removed or reordered.
        """
        previous = GENESIS
        entries = self.entries()
        for number, entry in enumerate(entries, start=1):
            where = f"{self.use_case} ledger, entry {number}"
            if entry.get("sequence") != number:
                raise LedgerError(f"{where}: found number {entry.get('sequence')}; one is missing")
            if entry.get("previous") != previous:
                raise LedgerError(f"{where}: does not follow from the entry before it")
            body = {key: value for key, value in entry.items() if key != "hash"}
            if entry.get("hash") != digest_of(body):
                raise LedgerError(f"{where}: was edited after it was written")
            previous = entry["hash"]
        return entries


def last_decision(entries: list[dict[str, Any]], bundle: str) -> dict[str, Any] | None:
    """The newest entry about a bundle."""
    return next((entry for entry in reversed(entries) if entry.get("bundle") == bundle), None)


def awaiting_rollout(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest approval that has neither been promoted nor been overtaken by a later one."""
    for entry in reversed(entries):
        if entry["decision"] in ("approved", "promoted"):
            return entry if entry["decision"] == "approved" else None
    return None


def champion(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry that made the present champion."""
    return next((entry for entry in reversed(entries) if entry["decision"] == "promoted"), None)
