"""``mlops adopt``: the version that serves in another environment, as an approved one of this.

Everything that is copied is named by its digest, the version in MLflow is found by it, and the line
of the ledger is written last: killed at any point and done again, it gives one copy, one version
and one line. The ordinary rollout makes it serve.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops_assets import home
from mlops_assets.home import PRODUCTION
from mlops_assets.lib.bundles import signing
from mlops_assets.lib.evaluation.model_card import Facts, card
from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.records import current, sealed
from mlops_assets.lib.records.history import Entry, awaiting_rollout, champion, withdrawn
from mlops_assets.lib.records.ledger import MovedOnError, head, holds, in_a_line
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training_set.files import INPUTS
from mlops_assets.operations.adopt.offer import Offer, find
from mlops_assets.operations.copying import copy_version
from mlops_assets.operations.decide import RefusedError, refuse_by_gate
from mlops_assets.operations.rebuild import file_of_batch
from mlops_assets.resources import MlflowTracking
from mlops_assets.resources.anchor import open_ledger
from mlops_assets.stages import gate, registered_version, training_set
from mlops_assets.stages.evidence import recorded
from serving.bundle.manifest import SIGNATURE


@dataclass(frozen=True)
class Adopted:
    """A version of another environment that is one of this.

    Attributes:
        entry: Of the ledger here: it was approved, or serves already.
        is_new: Whether the entry was written now.
        signed: Who signed the bundle that lies here, in words; empty where nothing was written.
    """

    entry: Entry
    is_new: bool
    signed: str = ""


def adopt(
    store: Storage,
    spec: UseCase,
    batch_checks: gate.BatchChecks,
    mlflow: MlflowTracking,
    source: Storage,
    version: str | None,
    *,
    actor: str,
    reason: str,
) -> Adopted:
    """Bring a version over, and write into the ledger here that it is to serve.

    Args:
        store: The storage root here.
        spec: The use case, as it is here.
        batch_checks: Gives the checks of a batch from its digests.
        mlflow: The one here.
        source: The storage root of the other environment; it is read and never written.
        version: Its number there, or the start of its digest; the champion there without it.
        actor: Who decides.
        reason: Why, in a line.

    Raises:
        RefusedError: If it may not serve here; no line is written.
        LedgerError, BundleError, ChangedError: If something there, or the ledger here, is not what
            it was when it was written.
        ValueError: If no reason is given, or a key cannot be read.
    """
    reason, ledger = in_a_line(reason), open_ledger(store, spec.name)
    key = signing.key_from_environment()
    offer = find(source, spec, version)
    there, path = offer.promoted["version"], registered_version.folder(spec.name, offer.bundle)
    known = gate.Version(there, offer.bundle, path)
    number = ""
    while True:
        entries = ledger.verify()
        _refuse_the_same(store, source, offer, entries)
        settled = _settled(entries, offer.bundle)
        if settled is not None:
            return Adopted(settled, is_new=False)
        if not number:
            _refuse_data(store, spec, offer)
            if key is None:
                _refuse_unsigned(offer)
            copy_version(source, store, spec.name, offer.bundle, offer.lineage)
        found = gate.judge_version(
            lambda asked: recorded(offer.judged, asked), store, spec, batch_checks, known, entries
        )
        refuse_by_gate(spec, "promote", found)
        if not number:
            if key is not None:
                signing.sign_stored(key, offer.bundle, store, path)
            number = _register(store, spec, mlflow, offer)
        facts: dict[str, Any] = found.facts() | {
            "version": number,
            "actor": actor,
            "decided_by": "person",
            "answer": "adopt",
            "outvoted": found.reasons,
            "reasons": [reason],
            "origin": offer.origin(),
        }
        try:
            entry = ledger.append("approved", facts, after=len(entries))
        except MovedOnError:
            continue
        _, signed = signing.said_of(store.local(path), key, offer.bundle)
        return Adopted(entry, is_new=True, signed=signed)


def _refuse_the_same(store: Storage, source: Storage, offer: Offer, entries: list[Entry]) -> None:
    """Refuse this environment itself, under whatever name, and a copy of it."""
    same = os.path.realpath(source.root) == os.path.realpath(store.root)
    ours, theirs = entries[-1:], offer.entries[-1:]
    copied = any(holds(offer.entries, head(e)) for e in ours) or any(
        holds(entries, head(e)) for e in theirs
    )
    if same or copied:
        raise RefusedError(
            f"{source.root} is the storage root of this environment, or a copy of it: what was "
            "made here is promoted by `mlops promote`, and put back by `mlops rollback`"
        )


def _refuse_unsigned(offer: Offer) -> None:
    """Refuse what nobody has signed where the serving app would not load it."""
    is_signed = offer.source.exists(f"{offer.promoted['path']}/{SIGNATURE}")
    if home.environment() == PRODUCTION and not is_signed:
        raise RefusedError(
            f"version {offer.promoted['version']} of {offer.source.root} is not signed, and "
            f"{PRODUCTION} serves signed bundles only: give {signing.KEY_VARIABLE} or "
            f"{signing.FILE_VARIABLE}, by which the adoption signs it"
        )


def _settled(entries: list[Entry], bundle: str) -> Entry | None:
    """The entry by which the bundle serves, or is about to, if there is one."""
    decided = (awaiting_rollout(entries), champion(entries))
    return next((e for e in decided if e is not None and e["bundle"] == bundle), None)


def _refuse_data(store: Storage, spec: UseCase, offer: Offer) -> None:
    """Refuse what was made of rows that must not be learned from, by what either side knows."""
    source, batches = offer.source, offer.lineage["batches"]
    out = withdrawn(offer.entries)
    said = [f"batch {b['key']} was withdrawn there" for b in batches if b["key"] in out]
    said += [f"{each}, there" for each in erasure.made_of_erased(source, spec.name, batches)]
    said += _erased_here(store, spec, offer)
    if said:
        there = f"version {offer.promoted['version']} of {source.root}"
        raise RefusedError(f"{there} is adopted by nobody: {'; '.join(said)}")


def _erased_here(store: Storage, spec: UseCase, offer: Offer) -> Iterator[str]:
    """Batches of there with rows of whom was erased here."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    erased = erasure.everybody(store, spec.name, spec.contract)
    if erased is None:
        return
    for batch in offer.lineage["batches"]:
        file = file_of_batch(offer.source, spec.name, batch["key"], "validated", batch["validated"])
        if file is None:
            yield (
                f"the rows of batch {batch['key']} are gone there, so whether somebody is among "
                "them who was erased here cannot be told"
            )
            continue
        ids = pq.read_table(file, columns=[spec.contract.entity])[0].combine_chunks()
        theirs = pc.sum(erased.are_theirs(ids.cast(pa.string()))).as_py()
        if theirs:
            yield f"{theirs} rows of batch {batch['key']} are of somebody who was erased here"


def _register(store: Storage, spec: UseCase, mlflow: MlflowTracking, offer: Offer) -> str:
    """Make it a version of the MLflow here, once; give its number."""
    lineage, name, digest = offer.lineage, spec.name, offer.bundle
    path = store.local(registered_version.folder(name, digest))
    rows = store.local(training_set.folder(name, lineage["training_set"]))
    evaluation = store.read_json(f"{name}/evaluations/{lineage['evaluation']}.json") or {}
    record = sealed.unseal(store, name, lineage["training_set"]) or {}
    # Rows and periods stand in the current record alone, which may be of a later training set.
    latest = current.read(offer.source, name, training_set.STAGE) or {}
    about = latest.get("about", {}) if latest.get("digest") == record["digest"] else {}
    steady = registered_version.steadiness_of(spec, path, digest, rows / INPUTS)
    facts = Facts(spec, digest, offer.manifest, evaluation, {**record, "about": about}, steady)
    origin = {f"adopted_from_{key}": value for key, value in offer.origin().items()}
    tags = {"training_set": record["digest"], "algorithm": lineage["algorithm"], **origin}
    scores = {metric: score["value"] for metric, score in evaluation["test"].items()}
    run = mlflow.run_of_adopted(name, digest, tags, scores)
    return mlflow.register(name, path, digest, run, card(facts), tags)
