"""Removing what was found; of a batch the other rows stay, under the numbers that they had.

The raw rows are written anew first, the old raw file goes last: whenever the batch is ingested in
between, it is without them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlops_assets.lib.digests import file_digest, short
from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.table import restrict
from mlops_assets.operations.erase.case import Case
from mlops_assets.operations.erase.finding import REMOVED, Found

MADE_OF_BATCHES = ("raw", "validated", "quarantine", "features", "predictions", *REMOVED)


def remove(case: Case, found: Found) -> Iterator[str]:
    """Remove it, in the order in which a kill leaves nothing that is not found again.

    Yields:
        A sentence for each thing that a person has to know.
    """
    for kind in MADE_OF_BATCHES:
        for key in case.store.leftovers(f"{case.spec.name}/{kind}"):
            case.store.remove(key)
    for kind in REMOVED:
        for digest in found.folders[kind]:
            case.store.remove(f"{case.spec.name}/{kind}/{digest}")
        if found.folders[kind]:
            shown = ", ".join(map(short, found.folders[kind]))
            yield f"{len(found.folders[kind])} {kind.replace('_', ' ')} removed: {shown}"
    old = [key for key in found.files if key.startswith(f"{case.spec.name}/raw/")]
    for key in old:
        _rewrite_raw(case, key)
    made = [key for key in found.files if key not in old]
    for batch in case.recorded():
        _unpoint(case, batch, made)
    for key in made:
        case.store.remove(key)
    for batch in case.recorded():
        yield from _forget_landed(case, batch)
    # Last: as long as they are there, a second run finds what is left.
    for key in old:
        case.store.remove(key)


def _rewrite_raw(case: Case, key: str) -> None:
    """Point a batch to its raw rows without those of erased entities, if it points here."""
    receipt = case.receipt_of_raw(key.rsplit("/", 1)[-1])
    pointer = receipt and case.batches.pointer(receipt.key, "raw")
    if receipt is None or not pointer or pointer["file"] != key:
        return
    everybody = erasure.everybody(case.store, case.spec.name, case.spec.contract)
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "raw.parquet"
        source = case.store.verified(key, pointer["digest"])
        less = restrict(source, local, Privacy(erased=everybody))
        digest = file_digest(local)
        file = f"{case.spec.name}/raw/{short(receipt.digest)}-{short(digest)}.parquet"
        case.store.publish(local, file)
    changed = {
        "digest": digest,
        "file": file,
        "rows": less.rows,
        "erased": pointer.get("erased", 0) + less.erased,
        "rewritten": pointer.get("rewritten", 0) + 1,
    }
    case.batches.point(receipt.key, "raw", {**pointer, **changed})


def _unpoint(case: Case, batch: str, going: Iterable[str]) -> None:
    for stage in ("validated", "features", "predictions"):
        pointer = case.batches.pointer(batch, stage) or {}
        if {pointer.get(name) for name in ("file", "quarantine", "folder")} & set(going):
            case.batches.unpoint(batch, stage)


def _forget_landed(case: Case, batch: str) -> Iterator[str]:
    receipt = case.batches.receipt(batch)
    assert receipt is not None
    if case.batches.forget(receipt):
        yield f"the landed file {receipt.name} held rows of them and was removed"
    elif case.batches.landed(receipt) is not None:
        yield f"{receipt.path} holds rows of them outside the landing place: remove it"
