"""Whom a command erases, and what the ledger has of them."""

from __future__ import annotations

from typing import Any

from mlops_assets.lib.digests import short
from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.anchor import open_ledger


class Case:
    """An entity of a use case, by its id and by the digests that stand for it.

    Attributes:
        entity: Its id, as the entity's column of a landed file has it.
        marks: The digests of the id that a tombstone has.
        them: How their rows are told, as they are read.
        receipts: Of every batch, by the beginning of the batch's digest.
    """

    def __init__(self, store: Storage, spec: UseCase, entity: str) -> None:
        self.store = store
        self.spec = spec
        self.entity = entity
        self.batches = Batches(store, spec.name)
        self.ledger = open_ledger(store, spec.name)
        self.marks = erasure.marks(store, spec.name, spec.contract, entity)
        self.them = erasure.those(store, spec.name, spec.contract, self.marks)
        self.receipts = {short(receipt.digest): receipt for receipt in self.batches.receipts()}

    def tombstones(self) -> list[dict[str, Any]]:
        """The entries of the ledger by which they were erased."""
        mine = erasure.tombstones(self.store, self.spec.name)
        return [entry for entry in mine if set(entry["entity"]) & set(self.marks)]

    def recorded(self) -> dict[str, list[int]]:
        """Row numbers by batch, of every tombstone of the entity."""
        rows: dict[str, set[int]] = {}
        for entry in self.tombstones():
            for key, found in entry["rows"].items():
                rows.setdefault(key, set()).update(found)
        return {key: sorted(found) for key, found in rows.items()}

    def receipt_of_raw(self, name: str) -> Receipt | None:
        """Whose raw rows a file holds, by its name."""
        return self.receipts.get(name[:12])
