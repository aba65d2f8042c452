"""The state of a use case in one record: what landed, what was trained, what serves."""

from datetime import UTC, datetime
from typing import Any

from mlops_assets import home
from mlops_assets.alerting import book
from mlops_assets.instance import has_instance, open_instance
from mlops_assets.lib.digests import short
from mlops_assets.lib.drift import records
from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.records import current
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import (
    champion,
    last_verdict,
    standing,
    withdrawn,
)
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.origin import best_auc
from mlops_assets.operations import rollout_now
from mlops_assets.operations.what_serves import as_lines, what_serves


def status(spec: UseCase) -> dict[str, Any]:
    """Everything about one use case, as JSON-compatible values.

    Args:
        spec: The use case.

    Returns:
        ``batches``, ``training_set``, ``candidates``, ``best_roc_auc`` (reachable by any model,
        where the rows were generated), ``versions``, ``champion``, ``rollout`` (the step that is at
        work), what ``what_serves`` gives, ``failed_checks``, ``alerts`` (the open ones) and
        ``retrain`` (the ``trigger`` of the next one, or null, and the ``reason``, which says what
        it waits for). What does not exist yet is null or empty.
    """
    store = Storage(home.storage_root())
    entries = Ledger(store, spec.name).entries()
    training = current.read(store, spec.name, "training_set")
    crowned = champion(entries)
    return {
        "use_case": spec.name,
        "batches": _batches(store, spec, withdrawn(entries)),
        "training_set": training and {"digest": training["digest"], "rows": training["rows"]},
        "candidates": _candidates(store, spec),
        "best_roc_auc": training
        and best_auc(store, spec.name, (batch["key"] for batch in training["batches"])),
        "versions": _versions(entries),
        "champion": crowned and {"version": crowned["version"], "digest": crowned["bundle"]},
        "rollout": rollout_now.found(store, spec, entries),
        **what_serves(store, spec.name, entries),
        "failed_checks": _failed_checks(store, spec),
        "retrain": _retrain(store, spec),
        "alerts": _alerts(store, spec.name),
    }


def _alerts(store: Storage, use_case: str) -> list[dict[str, Any]]:
    entries = book.read(store, use_case).entries.values()
    return [
        {"level": e.alert.level, "title": e.alert.title, "what": e.alert.what, "since": e.since}
        for e in entries
        if e.over is None
    ]


def _batches(store: Storage, spec: UseCase, out: set[str]) -> list[dict[str, Any]]:
    batches = Batches(store, spec.name)
    found = []
    for receipt in batches.receipts():
        landed = batches.pointer(receipt.key, "raw") or {}
        valid = batches.pointer(receipt.key, "validated") or {}
        found.append(
            {
                "key": receipt.key,
                "name": receipt.name,
                "rows": landed.get("rows"),
                "quarantined": valid.get("quarantined"),
                "quality": valid.get("quality"),
                "drift": _drift(store, spec.name, receipt.key),
                "withdrawn": receipt.key in out,
            }
        )
    return found


def _drift(store: Storage, use_case: str, key: str) -> dict[str, Any] | None:
    """What is known of a batch's drift, or None where it was not looked at."""
    record = records.read(store, use_case, "batches", key)
    names = ("judged", "drifted", "score", "effect", "reason")
    return record and {name: record[name] for name in names}


def _candidates(store: Storage, spec: UseCase) -> list[dict[str, Any]]:
    found = []
    for algorithm in spec.training.candidates:
        record = current.read(store, spec.name, f"candidates/{algorithm}")
        if record is not None:
            metrics = {name: score["value"] for name, score in record["out_of_fold"].items()}
            found.append({"name": algorithm, "metrics": metrics})
    return found


def _versions(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How each version stands, first version first."""
    found = [
        {"version": entry["version"], "digest": bundle, "decision": word.replace("_", " ")}
        for bundle, (entry, word) in standing(entries).items()
    ]
    return sorted(found, key=lambda version: int(version["version"]))


def _failed_checks(store: Storage, spec: UseCase) -> list[dict[str, Any]]:
    """Checks that failed for what is current: batches, and the last version decided upon."""
    from mlops_assets.stages.checks import UNASKED
    from mlops_assets.stages.evidence import look_at_batches

    if not has_instance():
        return []
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    with open_instance() as instance:
        looked = look_at_batches(instance, Batches(store, spec.name), spec, model)
    failed: list[dict[str, Any]] = [
        {"asset": f.asset, "check": f.check, "batch": batch.receipt.key, "said": f.said}
        for batch in looked
        for f in batch.failed
        if not f.said.startswith(UNASKED)
    ]
    verdict = last_verdict(Ledger(store, spec.name).entries())
    if verdict is not None and verdict["decision"] == "rejected":
        failed += [
            {"asset": c["asset"], "check": c["check"], "batch": None, "said": c["said"]}
            for c in verdict["checks"]
            if c["status"] != "passed" and not any(f["said"] == c["said"] for f in failed)
        ]
    return failed


def _retrain(store: Storage, spec: UseCase) -> dict[str, Any] | None:
    """What the retrain policy would do now, or None where it has nothing to go by."""
    from mlops_assets.automation.retrain_facts import look
    from mlops_assets.lib.retraining.policy import decide

    if not has_instance():
        return None
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    with open_instance() as instance:
        found = look(instance, store, spec, model, f"{spec.name}_retrain", datetime.now(UTC))
    if found is None:
        return None
    decision = decide(spec.retrain, spec.retrain_floors, found.facts)
    return {"trigger": decision.trigger, "reason": decision.reason}


def as_text(state: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [state["use_case"]]
    for batch in state["batches"]:
        refused = any(check["batch"] == batch["key"] for check in state["failed_checks"])
        rows = "not read" if batch["rows"] is None else f"{batch['rows']} rows"
        if batch["quality"] is not None:
            rows += f", {batch['quarantined']} in quarantine, quality {batch['quality']:g}"
        word = "withdrawn, " if batch["withdrawn"] else "refused, " if refused else ""
        lines.append(f"  batch      {batch['key']}: {word}{rows}")
        if batch["drift"] and batch["drift"]["drifted"]:
            lines.append(f"    drifted  {batch['drift']['reason']}")
    if state["training_set"]:
        rows = state["training_set"]["rows"]
        lines.append(f"  training   {rows['train']} rows to train on, {rows['test']} to test on")
    for candidate in state["candidates"]:
        m = candidate["metrics"]
        lines.append(
            f"  candidate  {candidate['name']}: ROC AUC {m['roc_auc']:.3f}, "
            f"accuracy {m['accuracy']:.3f}, log loss {m['log_loss']:.3f}"
        )
    if state["best_roc_auc"] is not None:
        best = state["best_roc_auc"]
        lines.append(f"  reachable  ROC AUC {best:.3f} at best: the rows were generated")
    for version in state["versions"]:
        lines.append(f"  version    {version['version']}: {version['decision']}")
    champion = state["champion"]
    shown = champion and f"version {champion['version']} ({short(champion['digest'])})"
    lines.append(f"  champion   {shown or 'none'}")
    lines += as_lines(state, rollout_now.as_line(state["rollout"]) if state["rollout"] else None)
    if state["retrain"]:
        when = "due" if state["retrain"]["trigger"] else "not yet"
        lines.append(f"  retrain    {when}: {state['retrain']['reason']}")
    for check in state["failed_checks"]:
        where = f" of batch {check['batch']}" if check["batch"] else ""
        lines.append(f"  failed     {check['asset']} {check['check']}{where}: {check['said']}")
    for alert in state["alerts"]:
        lines.append(f"  alert      {alert['level']}: {alert['title']}: {alert['what']}")
    return "\n".join(lines)
