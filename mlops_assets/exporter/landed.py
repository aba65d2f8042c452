"""Batches: what has landed, and what became of the newest."""

import time
from collections.abc import Iterator
from datetime import datetime

from mlops_assets.exporter import metrics
from mlops_assets.exporter.metrics import Sample
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.storage.root import Storage

#: So many of the newest are looked through for one that is as far as it must be.
MOST = 20


class Landed:
    """The batches of one use case. A receipt never changes: each is read once."""

    def __init__(self, store: Storage, use_case: str) -> None:
        self.use_case = use_case
        self._store = store
        self._batches = Batches(store, use_case)
        self._known: dict[str, Receipt] = {}

    def receipts(self) -> list[Receipt]:
        """Every receipt, newest first."""
        there = self._store.list(f"{self.use_case}/batches")
        known = {}
        for key in there:
            receipt = self._known.get(key) or self._batches.receipt(key)
            if receipt is not None:
                known[key] = receipt
        self._known = known
        return sorted(known.values(), key=lambda each: (each.landed_at, each.key), reverse=True)

    def __call__(self) -> Iterator[Sample]:
        """How many there are, and the rows of the newest that was validated."""
        receipts, labels = self.receipts(), (self.use_case,)
        yield Sample(metrics.BATCHES, labels, len(receipts))
        if not receipts:
            return
        age = time.time() - datetime.fromisoformat(receipts[0].landed_at).timestamp()
        yield Sample(metrics.BATCH_AGE, labels, max(age, 0.0))
        for receipt in receipts[:MOST]:
            found = self._batches.pointer(receipt.key, "validated")
            if found is None or found.get("file") is None:  # not read yet, or refused as a whole
                continue
            rows = found["rows"] + found["quarantined"]
            yield Sample(metrics.BATCH_ROWS, labels, rows)
            yield Sample(metrics.BATCH_QUARANTINED, labels, found["quarantined"])
            if rows:
                yield Sample(metrics.BATCH_QUARANTINED_SHARE, labels, found["quarantined"] / rows)
            yield Sample(metrics.BATCH_QUALITY, labels, found["quality"])
            return
