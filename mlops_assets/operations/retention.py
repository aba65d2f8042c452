"""Which objects of a use case are needed, by following digests from what must be kept.

The ledger and the evidence of the checks are never touched: they are the history. What landed goes
only where the spec says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.labels.place import QUARANTINE
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.performance import told
from mlops_assets.lib.records import current, prediction_log
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import DATA_DECISIONS, Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

# Objects named by their digest, as folders, files or both.
NAMED = ("bundles", "recipes", "training_sets", "candidates", "evaluations", "records")
# Files of batches; one that no batch points to any more may still be in a kept version's lineage.
POINTED = ("raw", "validated", "features", "quarantine")


@dataclass
class Needed:
    """What must stay.

    Attributes:
        digests: Of bundles, training sets, candidates, evaluations and files of batches.
        files: Keys that batches point to.
        versions: Digests of the kept bundles, newest last.
        runs: Dagster runs that the kept versions name as their evidence.
    """

    digests: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)


def needed(store: Storage, spec: UseCase, now: datetime) -> Needed:
    """Follow what serves, waits, is current or is recent to everything that it is made of.

    Args:
        store: The storage root.
        spec: Its retention decides.
        now: With a time zone.
    """
    keep = Needed()
    entries = [
        entry
        for entry in Ledger(store, spec.name).verify()
        if entry["decision"] not in DATA_DECISIONS
    ]
    promoted = [e["bundle"] for e in entries if e["decision"] == "promoted"]
    champions = list(dict.fromkeys(reversed(promoted)))[: spec.retention.champions]
    recent = [
        e["bundle"]
        for e in entries
        if (now - datetime.fromisoformat(e["time"])).total_seconds() < spec.retention.days * 86_400
    ]
    last = [entries[-1]["bundle"]] if entries else []
    registered = current.read(store, spec.name, "registered_version")
    waiting = [registered["digest"]] if registered else []
    keep.versions = list(
        dict.fromkeys([*reversed(champions), *recent, *last, *waiting, *_desired(store, spec)])
    )
    for digest in keep.versions:
        _keep_version(store, spec, digest, keep)
    for entry in entries:
        if entry["bundle"] in keep.versions:
            keep.runs |= {check["run"] for check in entry.get("checks", [])}
    _keep_current(store, spec, keep)
    batches = Batches(store, spec.name)
    for key in batches.keys():  # noqa: SIM118 (no mapping)
        for stage in POINTED:
            pointer = batches.pointer(key, stage) or {}
            keep.files |= {pointer[name] for name in ("file", "quarantine") if pointer.get(name)}
        scores = batches.pointer(key, "predictions")
        keep.files |= {scores["folder"]} if scores else set()
    return keep


def _desired(store: Storage, spec: UseCase) -> Iterator[str]:
    for name in store.list(f"{spec.name}/desired"):
        state = store.read_json(f"{spec.name}/desired/{name}") or {"roles": {}}
        yield from (role["digest"] for role in state["roles"].values())


def _keep_version(store: Storage, spec: UseCase, digest: str, keep: Needed) -> None:
    keep.digests.add(digest)
    manifest = store.read_json(f"{spec.name}/bundles/{digest}/manifest.json")
    if manifest is None:
        return
    lineage = manifest["lineage"]
    made_of = ("training_set", "candidate", "evaluation", "recipe")
    keep.digests |= {lineage[name] for name in made_of if name in lineage}
    _keep_evaluation(store, spec, lineage["evaluation"], keep)
    for batch in lineage["batches"]:
        keep.digests |= {batch[stage] for stage in ("raw", "validated", "features")}


def _keep_evaluation(store: Storage, spec: UseCase, digest: str, keep: Needed) -> None:
    record = store.read_json(f"{spec.name}/evaluations/{digest}.json") or {"candidates": {}}
    keep.digests |= {digest, *record["candidates"].values()}


def _keep_current(store: Storage, spec: UseCase, keep: Needed) -> None:
    """A retrain may be half way: what it has made is current, and in no version yet."""
    stages = ["training_set", "evaluation", "registered_version"]
    stages += [f"candidates/{algorithm}" for algorithm in spec.training.candidates]
    for stage in stages:
        record = current.read(store, spec.name, stage)
        if record is not None:
            keep.digests.add(record["digest"])


def unneeded(store: Storage, spec: UseCase, keep: Needed) -> Iterator[str]:
    """Keys of objects that nothing kept is made of."""
    for kind in NAMED:
        for name in store.list(f"{spec.name}/{kind}"):
            if name.removesuffix(".json") not in keep.digests:
                yield f"{spec.name}/{kind}/{name}"
    for name in store.list(f"{spec.name}/predictions"):
        if f"{spec.name}/predictions/{name}" not in keep.files:
            yield f"{spec.name}/predictions/{name}"
    for kind in POINTED:
        for name in store.list(f"{spec.name}/{kind}"):
            key = f"{spec.name}/{kind}/{name}"
            if key not in keep.files and file_digest(store.local(key)) not in keep.digests:
                yield key


def spent(store: Storage, spec: UseCase, now: datetime) -> Iterator[str]:
    """Landed files that the spec keeps no longer: their batch was ingested, its raw rows stay."""
    if spec.retention.landed is None:
        return
    batches = Batches(store, spec.name)
    for receipt in batches.receipts():
        key = batches.landed_key(receipt)
        age = (now - datetime.fromisoformat(receipt.landed_at)).total_seconds()
        if (
            key is not None
            and age > spec.retention.landed * 86_400
            and store.exists(key)
            and batches.pointer(receipt.key, "features") is not None
        ):
            yield key


def logged_long_ago(
    store: Storage, spec: UseCase, kind: prediction_log.Kind, now: datetime
) -> Iterator[str]:
    """Days of the prediction log that the spec keeps no longer."""
    kept = {"served": spec.retention.served, "feedback": spec.retention.feedback}[kind]
    for day, key in prediction_log.days(store, spec.name, kind).items():
        over = datetime.combine(day, time(), UTC) + timedelta(days=1)
        if now - over > timedelta(days=kept):
            yield key


def judged_long_ago(store: Storage, spec: UseCase, now: datetime) -> Iterator[str]:
    """Records of drift and of performance that the spec keeps no longer, each as a folder.

    Those of a day whose answers, or of labels about answers, that are still in the log stay: the
    schedule would only make them again.
    """
    oldest = (now - timedelta(days=spec.retention.monitoring)).isoformat()
    logged = {day.isoformat() for day in prediction_log.days(store, spec.name, "served")}
    for record in drift.latest(store, spec.name, "batches"):
        if record["at"] < oldest:
            yield drift.folder(spec.name, "batches", record["window"])
    for record in drift.latest(store, spec.name, "days"):
        if record["at"] < oldest and record["window"] not in logged:
            yield drift.folder(spec.name, "days", record["window"])
    for record in performance.latest(store, spec.name):
        if record["at"] < oldest and record["day"] not in logged:
            yield performance.folder(spec.name, record["day"])
    told_on = {day.isoformat() for day in prediction_log.days(store, spec.name, "feedback")}
    for day, record in told.every(store, spec.name).items():
        if day < oldest and day not in told_on and not record["days"].keys() & logged:
            yield f"{spec.name}/{told.STAGE}/{day}"


def refused_long_ago(store: Storage, spec: UseCase, now: datetime) -> Iterator[str]:
    """Quarantined rows of files of labels that the spec keeps no longer."""
    oldest = now.timestamp() - spec.retention.feedback * 86_400
    for file in store.files(f"{spec.name}/{QUARANTINE}"):
        if file.changed < oldest:
            yield file.key
