"""Taking a bad batch out, and putting it back: a line of the ledger, and nothing else.

Nothing is deleted. The next training set is made without the batch, the gate refuses every version
that was made of it, and the retrain sensor sees that the accepted batches are others than those of
the last verdict.
"""

from difflib import get_close_matches
from typing import Any

from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import champion, withdrawn
from mlops_assets.lib.records.ledger import in_a_line
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.anchor import open_ledger


class UnknownBatchError(ValueError):
    """There is no such batch; the message names those that look like it."""


def withdraw(
    store: Storage, spec: UseCase, batch: str, *, actor: str, reason: str, undo: bool = False
) -> dict[str, Any] | None:
    """Take a batch out of all later training, or put it back.

    Args:
        store: The storage root.
        spec: The use case.
        batch: Key of the batch.
        actor: Who decides.
        reason: Why, in a line.
        undo: Put it back.

    Returns:
        The ledger's entry, or None where the batch is out (or in) already.

    Raises:
        UnknownBatchError: If no such batch has landed.
        ValueError: If no reason is given.
    """
    reason = in_a_line(reason)
    batches, ledger = Batches(store, spec.name), open_ledger(store, spec.name)
    if batches.receipt(batch) is None:
        keys = batches.keys()
        near = get_close_matches(batch, keys, n=3, cutoff=0.6)
        hint = f"; `mlops status {spec.name}` shows them" if keys else "; none has landed"
        hint = f"; did you mean {' or '.join(near)}?" if near else hint
        raise UnknownBatchError(f"{spec.name} has no batch {batch!r}{hint}")
    if (batch in withdrawn(ledger.verify())) is not undo:
        return None
    facts = {"batch": batch, "actor": actor, "reasons": [reason]}
    return ledger.append("restored" if undo else "withdrawn", facts)


def serves_withdrawn(store: Storage, entries: list[dict[str, Any]]) -> list[str]:
    """Withdrawn batches that the present champion was trained on."""
    crowned = champion(entries)
    if crowned is None:
        return []
    manifest = store.read_json(f"{crowned['path']}/manifest.json") or {"lineage": {"batches": []}}
    used = [batch["key"] for batch in manifest["lineage"]["batches"]]
    return [key for key in used if key in withdrawn(entries)]
