"""A copy of the trained platform's storage to which a month has happened, by the real writers."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mlops_assets.exporter.collector import Part
from mlops_assets.exporter.parts import of_dagster, of_storage
from mlops_assets.lib.drift import records
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import last_verdict
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from tests.platform import HEART, Platform

METRICS = ("accuracy", "roc_auc")


def history(trained: Platform, folder: Path) -> Storage:
    """Version 1 serves, a second rollout was taken back; days were judged, and labels came."""
    store = Storage(folder / "storage")
    shutil.copytree(trained.store.root, store.root)
    ledger = Ledger(store, HEART)
    approved = last_verdict(ledger.entries())
    assert approved is not None
    names = ("version", "bundle", "path", "training_set", "wanted")
    version = {name: approved[name] for name in names}
    for decision in ("promoted", "aborted"):
        if decision == "aborted":
            approved = ledger.append("approved", {**version, "batches": []})
        facts = {**version, "environment": "dev", "decision_of": approved["sequence"]}
        ledger.append("rolling_out", {**facts, "before": {}})
        ledger.append("promoted" if decision == "promoted" else "aborted", facts)
    role = {"version": approved["version"], "bundle": approved["path"], "percent": 100}
    roles = {"champion": {**role, "digest": approved["bundle"]}}
    desired_state.write(store, HEART, "dev", roles, decision=len(ledger.entries()))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    (batch,) = trained.batches.receipts()
    window = {"rows": 303, "judged": True, "drifted": True, "score": 0.25, "effect": 1.5}
    for windows, key in (("batches", batch.key), ("days", f"{yesterday:%Y-%m-%d}")):
        about = {"window": key, "at": f"{yesterday:%Y-%m-%d}T00:00:00+00:00"}
        records.write(store, HEART, windows, {**about, **window})  # type: ignore[arg-type]
    judged(store, yesterday - timedelta(days=1), measured=0.8)
    judged(store, yesterday, measured=None)
    return store


def judged(store: Storage, day: datetime, measured: float | None) -> None:
    """Write down how a day went; labels come later than estimates."""

    def values(value: float) -> dict[str, Any]:
        return {m: {"value": value, "low": value - 0.1, "high": value + 0.1} for m in METRICS}

    version: dict[str, Any] = {"version": "1", "role": "champion", "rows": 40, "labelled": 0}
    version |= {"measured": None, "estimated": values(0.85), "error": None}
    if measured is not None:
        error = dict.fromkeys(METRICS, 0.85 - measured)
        version |= {"measured": values(measured), "error": error, "labelled": 30}
    small = {**version, "version": "2", "rows": 3, "estimated": values(0.5)}
    name = f"{day:%Y-%m-%d}"
    store.write_json(
        f"{HEART}/performance/{name}/record.json",
        {
            "day": name,
            "at": f"{name}T00:00:00+00:00",
            "rows": 43,
            "labelled": version["labelled"],
            "label_lag_seconds": None if measured is None else 86_400.0,
            "versions": [version, small],
            "said": [],
        },
    )


def parts(trained: Platform, store: Storage) -> list[Part]:
    """The parts of the exporter on that storage, and on the instance that has trained."""
    made = [*of_dagster(trained.instance, trained.definitions, [HEART])]
    return [*made, *of_storage(store, [trained.spec], "dev", trained.mlflow.champion)]
