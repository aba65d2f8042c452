"""What a person decides about a version: approve or reject what waits, or outvote the contest.

The gate is asked once more: what was true when the version was parked may not be true any more. A
missing or failed blessing stops everybody.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import dagster as dg

from mlops_assets.lib.records.history import (
    Entry,
    awaiting_approval,
    awaiting_rollout,
    champion,
    last_decision,
)
from mlops_assets.lib.records.ledger import Ledger, MovedOnError, in_a_line
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.versions import bundle_of, numbers
from mlops_assets.resources.anchor import open_ledger
from mlops_assets.stages import gate

Answer = Literal["approve", "reject", "promote"]


class RefusedError(ValueError):
    """The gate, or the state of the version, stands against it; the message says why."""


def decide(
    instance: dg.DagsterInstance,
    store: Storage,
    spec: UseCase,
    batch_checks: gate.BatchChecks,
    answer: Answer,
    version: str,
    *,
    actor: str,
    reason: str,
) -> Entry:
    """Write a person's decision into the ledger.

    Args:
        instance: Dagster's records, for the gate.
        store: The storage root.
        spec: The use case.
        batch_checks: Gives the checks of a batch from its digests.
        answer: ``approve`` or ``reject`` a version that waits; ``promote`` any registered one whose
            contest was equivalent or inconclusive, or which a person had taken out.
        version: Its number, or the start of its bundle's digest.
        actor: Who decides.
        reason: Why, in a line.

    Returns:
        The entry.

    Raises:
        RefusedError: If it cannot be decided so; nothing is written.
        UnknownVersionError: If no such version is registered.
        ValueError: If no reason is given.
    """
    reason, ledger = in_a_line(reason), open_ledger(store, spec.name)
    digest = bundle_of(store, spec.name, version)
    number = numbers(store, spec.name).get(digest)
    if number is None:
        raise RefusedError(f"bundle {digest[:12]} is not registered as a version")
    known = gate.Version(number, digest, f"{spec.name}/bundles/{digest}")
    while True:
        entries = ledger.verify()
        _refuse_by_state(spec, answer, known, entries)
        found = gate.ask(instance, store, spec, batch_checks, known, entries)
        if answer != "reject":
            refuse_by_gate(spec, answer, found)
        facts: dict[str, Any] = found.facts() | {
            "actor": actor,
            "decided_by": "person",
            "answer": answer,
            "outvoted": found.reasons if answer == "promote" else [],
            "reasons": [reason],
        }
        try:
            decision: Literal["approved", "rejected"]
            decision = "rejected" if answer == "reject" else "approved"
            entry = ledger.append(decision, facts, after=len(entries))
        except MovedOnError:
            continue
        # Beside what the gate had said, where people look.
        shown = {"decision": decision, "version": number, "by": actor, "reason": reason}
        asset = dg.AssetKey([spec.name, "promotion"])
        instance.report_runless_asset_event(dg.AssetObservation(asset, metadata=shown))
        return entry


def expire(spec: UseCase, ledger: Ledger, now: datetime) -> list[Entry]:
    """Write into the ledger which versions have waited for a person too long.

    Args:
        spec: Says how long.
        ledger: Of the use case.
        now: With a time zone.

    Returns:
        The new entries.
    """
    written: list[Entry] = []
    entries = ledger.verify()
    for entry in awaiting_approval(entries):
        if not _is_late(spec, entry, now):
            continue
        facts = {name: entry[name] for name in ("version", "bundle", "path")}
        limit = f"nobody approved it within {spec.gate.approval_days:g} days"
        about = {**facts, "actor": "rollout sensor", "reasons": [limit]}
        try:
            written.append(ledger.append("expired", about, after=len(entries) + len(written)))
        except MovedOnError:
            break  # the next look sees what was decided meanwhile
    return written


def _is_late(spec: UseCase, entry: Entry, now: datetime) -> bool:
    limit = timedelta(days=spec.gate.approval_days)
    return now - datetime.fromisoformat(entry["time"]) > limit


def _refuse_by_state(
    spec: UseCase, answer: Answer, version: gate.Version, entries: list[Entry]
) -> None:
    number, crowned = version.number, champion(entries)
    open_move = awaiting_rollout(entries)
    if answer == "promote":
        if crowned is not None and crowned["bundle"] == version.digest:
            raise RefusedError(f"version {number} is the champion")
        if open_move is not None and open_move["bundle"] == version.digest:
            raise RefusedError(
                f"version {number} is approved already, by entry {open_move['sequence']} of the "
                f"ledger: its rollout is under way, or begins when the job {spec.name}_deploy is "
                "launched (`mlops status`)"
            )
        return
    waiting = awaiting_approval(entries)
    if answer == "reject" and open_move is not None and open_move["bundle"] == version.digest:
        return  # approved, and not rolled out yet
    mine = next((entry for entry in waiting if entry["bundle"] == version.digest), None)
    if mine is None:
        last = last_decision(entries, version.digest)
        state = f"its last decision is {last['decision']!r}" if last else "it was never judged"
        shown = ", ".join(entry["version"] for entry in waiting)
        there = f"; version {shown} does" if shown else "; no version does"
        raise RefusedError(f"version {number} does not wait for approval ({state}){there}")
    if answer == "approve" and _is_late(spec, mine, datetime.now(UTC)):
        raise RefusedError(
            f"version {number} waited for more than {spec.gate.approval_days:g} days, and its "
            f"evidence is old: materialise {spec.name}/promotion, which judges it again"
        )


def refuse_by_gate(spec: UseCase, answer: Answer, found: gate.Judgement) -> None:
    """Refuse what no person can let in.

    Raises:
        RefusedError: If a blessing is missing, the version is worse than the champion, or, where it
            is only approved, the gate would not promote it.
    """
    number = found.version.number
    if found.objections:
        said = "; ".join(found.objections)
        raise RefusedError(f"version {number} has no blessing, and nobody outvotes that: {said}")
    contest = found.contest
    if answer == "approve" and found.reasons:
        said = "; ".join(found.reasons)
        raise RefusedError(
            f"the gate would not promote version {number} any more: {said}; "
            f"`mlops promote {spec.name} {number}` outvotes it where the contest is undecided"
        )
    undecided = contest is None or contest.verdict.outcome in gate.OPEN
    if contest is not None and not undecided and not contest.promotion.promotes:
        raise RefusedError(f"version {number} is not promoted by anybody: {contest.verdict.said}")
