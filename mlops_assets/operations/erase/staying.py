"""What stays of somebody: versions that were trained on their rows, and records of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops_assets.lib.digests import short
from mlops_assets.lib.records.history import champion, last_decision
from mlops_assets.operations.erase.case import Case
from mlops_assets.operations.erase.finding import Found
from mlops_assets.operations.versions import numbers


def what_stays(case: Case, left: Found) -> Iterator[str]:
    """Say what was made of their rows and is not removed, and when it goes.

    Args:
        case: Who was erased.
        left: What was found once all else was removed.
    """
    entries, known = case.ledger.entries(), numbers(case.store, case.spec.name)
    sets = {digest for entry in case.tombstones() for digest in entry["training_sets"]}
    trained = False
    for digest in case.store.list(f"{case.spec.name}/bundles"):
        manifest = _manifest(case, digest)
        golden = left.folders["bundles"].get(digest, 0)
        if manifest["lineage"]["training_set"] not in sets and not golden:
            continue
        trained = True
        last = last_decision(entries, digest)
        state = last["decision"] if last else "undecided"
        if (champion(entries) or {}).get("bundle") == digest:
            state = "the champion"
        said = f"version {known.get(digest, 'without a number')} (bundle {short(digest)}, "
        said += f"{state}) was trained on rows of them"
        if golden:
            said += f", and {golden} of its golden rows are theirs (inputs, without identifiers)"
        yield said
    if trained:
        keep = case.spec.retention
        yield (
            "such a version answers as before until a new one is promoted: retrain; `mlops "
            f"prune` removes it once it is none of the last {keep.champions} champions and "
            f"{keep.days:g} days old, and MLflow's copy of it (golden rows, and a score by row "
            "number) with its run"
        )
    if case.recorded():
        yield (
            "Dagster's records of the runs that ingested these batches may show rows of them "
            "(the first ones in quarantine): `mlops prune` removes runs older than "
            f"{case.spec.retention.days_of_runs:g} days"
        )
    if "://" in case.store.root:
        yield "copies of the bucket in the cache of a machine go a day after their last use"
    unread = [
        receipt.name
        for receipt in case.batches.receipts()
        if case.batches.pointer(receipt.key, "raw") is None and case.batches.is_there(receipt)
    ]
    if unread:
        yield f"landed and not read, so not looked through: {', '.join(unread)}"


def _manifest(case: Case, digest: str) -> Mapping[str, Any]:
    path = f"{case.spec.name}/bundles/{digest}/manifest.json"
    return case.store.read_json(path) or {"lineage": {"training_set": None}}
