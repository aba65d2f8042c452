"""Where generated batches come from, kept by their content: what no model can beat is known later.

The file itself looks like any other; so the record lies in the storage, by the digest of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.churn import ChurnOptions
from mlops_assets.lib.synthetic.reachable import BestAuc
from mlops_assets.lib.synthetic.writing import Summary


def _key(use_case: str, content: str) -> str:
    return f"{use_case}/generated/{content}.json"


def remember(
    storage: Storage, use_case: str, content: str, options: ChurnOptions, summary: Summary
) -> None:
    """Keep what a generator knows of a file that it wrote.

    Args:
        storage: The storage root.
        use_case: For which the rows are.
        content: Digest of the file.
        options: With which it was drawn.
        summary: Of the file.
    """
    storage.write_json(
        _key(use_case, content),
        {
            "options": options.model_dump(mode="json"),
            "best_auc": summary.best_auc,
            "scores": summary.scores.as_dict(),
        },
    )


def best_auc(storage: Storage, use_case: str, batches: Iterable[str]) -> float | None:
    """The best ROC AUC that a model can reach on the good rows of batches.

    Args:
        storage: The storage root.
        use_case: Whose batches.
        batches: Their keys.

    Returns:
        None if one of them was not generated, or there is none.
    """
    known = Batches(storage, use_case)
    records: list[Mapping[str, Any]] = []
    for key in batches:
        receipt = known.receipt(key)
        record = None if receipt is None else storage.read_json(_key(use_case, receipt.content))
        if record is None:
            return None
        records.append(record)
    if len(records) < 2:
        return float(records[0]["best_auc"]) if records else None
    return BestAuc.of(record["scores"] for record in records).value()
